;; Fills its memory again and again: much work for few instructions.
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (if (call $asked (local.get $request)) (then
    (loop $again
      (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
      (br $again))))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
