;; Asks for the longest cooldown and ban and the largest penalty there are, and sets every flag.
(func (export "pointsman_retry") (param $request i32) (param $attempt i32) (param $decision i32)
  (if (call $asked (local.get $request)) (then
    (i32.store offset=12 (local.get $decision) (i32.const 2))
    (i32.store offset=16 (local.get $decision) (i32.const 0xffffffff))
    (f32.store offset=20 (local.get $decision) (f32.const 0x1.fffffep+127))
    (i32.store offset=24 (local.get $decision) (i32.const 0xfffffff0))
    (i32.store offset=28 (local.get $decision) (i32.const 0xffffffff))))
  (i32.store offset=4 (local.get $decision) (i32.const 1)))
