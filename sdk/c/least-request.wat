(module
 (type $0 (func (result i32)))
 (type $1 (func (param i32 i32) (result i32)))
 (type $2 (func (result i64)))
 (type $3 (func (param i32 i32) (result i64)))
 (type $4 (func (param i32 i32 i32 i32)))
 (global $global$0 (mut i32) (i32.const 66656))
 (memory $0 2)
 (data $0 (i32.const 1024) "{\"name\":\"least-request-c\",\"version\":\"1.0.0\",\"kinds\":[\"scoring\"]}\00this policy has no config\00")
 (table $0 1 1 funcref)
 (export "memory" (memory $0))
 (export "pointsman_abi_version" (func $0))
 (export "pointsman_alloc" (func $1))
 (export "pointsman_describe" (func $2))
 (export "pointsman_configure" (func $3))
 (export "pointsman_score" (func $4))
 (func $0 (result i32)
  (i32.const 65538)
 )
 (func $1 (param $0 i32) (param $1 i32) (result i32)
  (local $2 i32)
  (local $3 i64)
  (local $4 i64)
  (block $block
   (br_if $block
    (i64.le_u
     (local.tee $3
      (i64.add
       (i64.extend_i32_u
        (local.tee $1
         (i32.and
          (i32.add
           (i32.add
            (local.get $1)
            (select
             (local.tee $2
              (i32.load offset=1116
               (i32.const 0)
              )
             )
             (i32.const 66656)
             (local.get $2)
            )
           )
           (i32.const -1)
          )
          (i32.sub
           (i32.const 0)
           (local.get $1)
          )
         )
        )
       )
       (i64.extend_i32_u
        (local.get $0)
       )
      )
     )
     (local.tee $4
      (i64.shl
       (i64.extend_i32_u
        (memory.size)
       )
       (i64.const 16)
      )
     )
    )
   )
   (br_if $block
    (i32.ne
     (memory.grow
      (i32.wrap_i64
       (i64.shr_u
        (i64.add
         (i64.sub
          (local.get $3)
          (local.get $4)
         )
         (i64.const 65535)
        )
        (i64.const 16)
       )
      )
     )
     (i32.const -1)
    )
   )
   (return
    (i32.const 0)
   )
  )
  (i64.store32 offset=1116
   (i32.const 0)
   (local.get $3)
  )
  (local.get $1)
 )
 (func $2 (result i64)
  (i64.or
   (i64.shl
    (i64.extend_i32_u
     (i32.const 1024)
    )
    (i64.const 32)
   )
   (i64.const 64)
  )
 )
 (func $3 (param $0 i32) (param $1 i32) (result i64)
  (select
   (i64.const 0)
   (i64.or
    (i64.shl
     (i64.extend_i32_u
      (i32.const 1089)
     )
     (i64.const 32)
    )
    (i64.const 25)
   )
   (i32.eq
    (local.get $1)
    (i32.const 2)
   )
  )
 )
 (func $4 (param $0 i32) (param $1 i32) (param $2 i32) (param $3 i32)
  (local $4 f32)
  (block $block
   (br_if $block
    (i32.eqz
     (local.get $2)
    )
   )
   (local.set $1
    (i32.add
     (local.get $1)
     (i32.const 52)
    )
   )
   (local.set $0
    (i32.load offset=4
     (local.get $0)
    )
   )
   (loop $label
    (f64.store
     (local.get $3)
     (f64.sub
      (f64.div
       (f64.convert_i32_u
        (i32.load
         (i32.add
          (local.get $1)
          (i32.const -44)
         )
        )
       )
       (f64.add
        (f64.convert_i32_u
         (i32.load
          (i32.add
           (local.get $1)
           (i32.const -40)
          )
         )
        )
        (f64.const 1)
       )
      )
      (f64.promote_f32
       (select
        (local.tee $4
         (f32.load
          (local.get $1)
         )
        )
        (f32.const 0)
        (f32.eq
         (local.get $4)
         (local.get $4)
        )
       )
      )
     )
    )
    (local.set $1
     (i32.add
      (local.get $1)
      (local.get $0)
     )
    )
    (local.set $3
     (i32.add
      (local.get $3)
      (i32.const 8)
     )
    )
    (br_if $label
     (local.tee $2
      (i32.add
       (local.get $2)
       (i32.const -1)
      )
     )
    )
   )
  )
 )
)

