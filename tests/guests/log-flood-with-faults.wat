;; Logs as much as it may, and then traps, so that another instance may log as much.
(import "pointsman" "log" (func $log (param i32 i32 i32)))
(data (i32.const 512) "flood")
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (local $i i32)
  (if (call $asked (local.get $request)) (then
    (loop $again
      (call $log (i32.const 3) (i32.const 512) (i32.const 5))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 100))))
    unreachable))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
