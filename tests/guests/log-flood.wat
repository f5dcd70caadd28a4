;; Logs broken UTF-8 and escape sequences as fast as it can.
(import "pointsman" "log" (func $log (param i32 i32 i32)))
(data (i32.const 512) "flood \ff\fe\c0\80 \1b[31m \ed\a0\80")
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (if (call $asked (local.get $request)) (then
    (loop $again
      (call $log (i32.const 3) (i32.const 512) (i32.const 20))
      (br $again))))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
