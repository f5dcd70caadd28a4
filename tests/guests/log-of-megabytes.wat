;; Logs a hundred lines as long as its memory allows: what the host reads of each has its price.
(import "pointsman" "log" (func $log (param i32 i32 i32)))
(memory (export "memory") 17)
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (local $i i32)
  (if (call $asked (local.get $request)) (then
    (loop $again
      (call $log (i32.const 3) (i32.const 1024) (i32.const 1048576))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 100))))))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
