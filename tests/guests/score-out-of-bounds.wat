;; Writes beyond its memory.
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (if (call $asked (local.get $request)) (then
    (i64.store (i32.const -8) (i64.const 1))))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
