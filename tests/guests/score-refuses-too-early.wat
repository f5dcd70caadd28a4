;; The same of version 1.1, in which nobody can refuse: what it writes there is ignored.
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores))
  (if (call $asked (local.get $request)) (then
    (i32.store offset=32 (local.get $request) (i32.const 0x80000000)))))
