;; Logs 6,000 lines of a byte, and then scores as if nothing had been.
(import "pointsman" "log" (func $log (param i32 i32 i32)))
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (local $i i32)
  (if (call $asked (local.get $request)) (then
    (loop $again
      (call $log (i32.const 3) (i32.const 1024) (i32.const 1))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 6000))))))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
