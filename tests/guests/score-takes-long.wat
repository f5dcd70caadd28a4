;; Counts to 50,000, which takes more fuel than there is unless the conf gives more.
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (local $i i32)
  (if (call $asked (local.get $request)) (then
    (loop $again
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 50000))))))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
