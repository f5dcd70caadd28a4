;; Plans a timeout that is no number.
(func (export "pointsman_plan") (param $request i32) (param $row i32) (param $plan i32)
  (if (call $asked (local.get $request)) (then
    (f32.store offset=8 (local.get $plan) (f32.const nan:0x200000))))
  )
