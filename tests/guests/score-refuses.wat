;; Version 1.2: says explicitly that no endpoint is to get the request. Its scores, all 0, mean nothing then.
(func (export "pointsman_abi_version") (result i32) (i32.const 0x00010002))
(func (export "pointsman_score") (param $request i32) (param $rows i32) (param $count i32) (param $scores i32)
  (if (call $asked (local.get $request)) (then
    (i32.store offset=32 (local.get $request)
      (i32.or (i32.load offset=32 (local.get $request)) (i32.const 0x80000000)))
    (return)))
  (call $score (local.get $request) (local.get $rows) (local.get $count) (local.get $scores)))
