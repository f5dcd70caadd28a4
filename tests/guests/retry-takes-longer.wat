;; Counts to 150,000 before each answer: about a million units of fuel.
(func (export "pointsman_retry") (param $request i32) (param $attempt i32) (param $decision i32) (local $i i32)
  (loop $again
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $again (i32.lt_u (local.get $i) (i32.const 150000))))
  (i32.store offset=4 (local.get $decision) (i32.const 1)))
