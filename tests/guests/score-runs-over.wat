;; Writes far more scores than there are rows.
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (if (call $asked (local.get $request)) (then
    (memory.fill (local.get $scores) (i32.const 0) (i32.const 4096))))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
