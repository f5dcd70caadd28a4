;; Overwrites the size of the block, which is the host's.
(func (export "pointsman_retry") (param $request i32) (param $attempt i32) (param $decision i32)
  (if (call $asked (local.get $request)) (then
    (i64.store (local.get $decision) (i64.const -1))))
  (i32.store offset=4 (local.get $decision) (i32.const 1)))
