;; Plans more attempts than there are endpoints, over longer than there is time.
(func (export "pointsman_plan") (param $request i32) (param $row i32) (param $plan i32)
  (if (call $asked (local.get $request)) (then
    (i32.store offset=4 (local.get $plan) (i32.const 0xffffffff))
    (f32.store offset=8 (local.get $plan) (f32.const 0x1.fffffep+127))
    (f32.store offset=12 (local.get $plan) (f32.const 0x1p-149))))
  )
