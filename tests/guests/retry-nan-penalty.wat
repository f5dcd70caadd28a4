;; Asks for a penalty that is no number.
(func (export "pointsman_retry") (param $request i32) (param $attempt i32) (param $decision i32)
  (if (call $asked (local.get $request)) (then
    (f32.store offset=20 (local.get $decision) (f32.const nan))))
  (i32.store offset=4 (local.get $decision) (i32.const 1)))
