;; Traps.
(func (export "pointsman_plan") (param $request i32) (param $row i32) (param $plan i32)
  (if (call $asked (local.get $request)) (then
    unreachable))
  )
