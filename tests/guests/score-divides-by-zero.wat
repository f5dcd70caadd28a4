;; Divides by zero.
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (if (call $asked (local.get $request)) (then
    (drop (i32.div_u (i32.const 1) (i32.const 0)))))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
