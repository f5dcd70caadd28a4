;; Never comes to an end.
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (if (call $asked (local.get $request)) (then
    (loop $forever (br $forever))))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
