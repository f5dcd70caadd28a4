;; Adds head_lag_blocks to every score: good with health checks, NaN for all without.
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (local $i i32)
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
    (f64.store (i32.add (local.get $scores) (i32.shl (local.get $i) (i32.const 3)))
      (f64.add (f64.load (i32.add (local.get $scores) (i32.shl (local.get $i) (i32.const 3))))
        (f64.promote_f32 (f32.load offset=52 (i32.add (local.get $rows) (i32.shl (local.get $i) (i32.const 6)))))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next))))
