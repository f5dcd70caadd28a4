;; Takes all memory that it is given, and traps when it is given no more.
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (if (call $asked (local.get $request)) (then
    (loop $more
      (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    unreachable))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
