;; Plans no attempt at all.
(func (export "pointsman_plan") (param $request i32) (param $row i32) (param $plan i32)
  (if (call $asked (local.get $request)) (then
    (i32.store offset=4 (local.get $plan) (i32.const 0))))
  )
