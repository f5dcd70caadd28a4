;; Logs text that lies outside of its memory, at levels that don't exist.
(import "pointsman" "log" (func $log (param i32 i32 i32)))
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (call $log (i32.const -1) (i32.const -1) (i32.const -1))
  (call $log (i32.const 99) (i32.const 131071) (i32.const 2))
  (call $log (i32.const 0) (i32.const -16) (i32.const 32))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
