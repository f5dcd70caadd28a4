(module
 (type $0 (func (param i32) (result i32)))
 (type $1 (func))
 (type $2 (func (param i32 i32 i32 i32)))
 (type $3 (func (result i64)))
 (type $4 (func (param i32 i32) (result i64)))
 (type $5 (func (param i32 i32) (result i32)))
 (type $6 (func (result i32)))
 (global $~lib/rt/stub/offset (mut i32) (i32.const 0))
 (global $~argumentsLength (mut i32) (i32.const 0))
 (memory $0 1)
 (data $0 (i32.const 1036) "\9c")
 (data $0.1 (i32.const 1048) "\02\00\00\00\82\00\00\00{\00\"\00n\00a\00m\00e\00\"\00:\00\"\00l\00e\00a\00s\00t\00-\00r\00e\00q\00u\00e\00s\00t\00-\00a\00s\00\"\00,\00\"\00v\00e\00r\00s\00i\00o\00n\00\"\00:\00\"\001\00.\000\00.\000\00\"\00,\00\"\00k\00i\00n\00d\00s\00\"\00:\00[\00\"\00s\00c\00o\00r\00i\00n\00g\00\"\00]\00}")
 (data $1 (i32.const 1196) "L")
 (data $1.1 (i32.const 1208) "\02\00\00\002\00\00\00t\00h\00i\00s\00 \00p\00o\00l\00i\00c\00y\00 \00h\00a\00s\00 \00n\00o\00 \00c\00o\00n\00f\00i\00g")
 (export "pointsman_abi_version" (func $sdk/assemblyscript/least-request/pointsman_abi_version))
 (export "pointsman_describe" (func $sdk/assemblyscript/least-request/pointsman_describe))
 (export "pointsman_alloc" (func $sdk/assemblyscript/least-request/pointsman_alloc))
 (export "pointsman_configure" (func $sdk/assemblyscript/least-request/pointsman_configure))
 (export "pointsman_score" (func $sdk/assemblyscript/least-request/pointsman_score))
 (export "memory" (memory $0))
 (start $~start)
 (func $~lib/string/String.UTF8.encode@varargs (param $0 i32) (result i32)
  (local $1 i32)
  (local $2 i32)
  (local $3 i32)
  (local $4 i32)
  (local $5 i32)
  (local $6 i32)
  block $2of2
   block $outOfRange
    global.get $~argumentsLength
    i32.const 1
    i32.sub
    br_table $2of2 $2of2 $2of2 $outOfRange
   end
   unreachable
  end
  local.get $0
  local.tee $1
  local.tee $2
  i32.const 20
  i32.sub
  i32.load offset=16
  local.get $0
  i32.add
  local.set $3
  i32.const 0
  local.set $0
  loop $while-continue|0
   local.get $2
   local.get $3
   i32.lt_u
   if
    local.get $2
    i32.load16_u
    local.tee $4
    i32.const 128
    i32.lt_u
    if (result i32)
     local.get $0
     i32.const 1
     i32.add
    else
     local.get $4
     i32.const 2048
     i32.lt_u
     if (result i32)
      local.get $0
      i32.const 2
      i32.add
     else
      local.get $4
      i32.const 64512
      i32.and
      i32.const 55296
      i32.eq
      local.get $2
      i32.const 2
      i32.add
      local.get $3
      i32.lt_u
      i32.and
      if
       local.get $2
       i32.load16_u offset=2
       i32.const 64512
       i32.and
       i32.const 56320
       i32.eq
       if
        local.get $0
        i32.const 4
        i32.add
        local.set $0
        local.get $2
        i32.const 4
        i32.add
        local.set $2
        br $while-continue|0
       end
      end
      local.get $0
      i32.const 3
      i32.add
     end
    end
    local.set $0
    local.get $2
    i32.const 2
    i32.add
    local.set $2
    br $while-continue|0
   end
  end
  local.get $0
  i32.const 1073741804
  i32.gt_u
  if
   unreachable
  end
  local.get $0
  i32.const 16
  i32.add
  local.tee $2
  i32.const 1073741820
  i32.gt_u
  if
   unreachable
  end
  global.get $~lib/rt/stub/offset
  i32.const 4
  i32.add
  local.tee $3
  local.get $2
  i32.const 19
  i32.add
  i32.const -16
  i32.and
  i32.const 4
  i32.sub
  local.tee $2
  i32.add
  local.tee $4
  memory.size
  local.tee $5
  i32.const 16
  i32.shl
  i32.const 15
  i32.add
  i32.const -16
  i32.and
  local.tee $6
  i32.gt_u
  if
   local.get $5
   local.get $4
   local.get $6
   i32.sub
   i32.const 65535
   i32.add
   i32.const -65536
   i32.and
   i32.const 16
   i32.shr_u
   local.tee $6
   local.get $5
   local.get $6
   i32.gt_s
   select
   memory.grow
   i32.const 0
   i32.lt_s
   if
    local.get $6
    memory.grow
    i32.const 0
    i32.lt_s
    if
     unreachable
    end
   end
  end
  global.get $~lib/rt/stub/offset
  local.get $4
  global.set $~lib/rt/stub/offset
  local.get $2
  i32.store
  local.get $3
  i32.const 4
  i32.sub
  local.tee $2
  i32.const 0
  i32.store offset=4
  local.get $2
  i32.const 0
  i32.store offset=8
  local.get $2
  i32.const 1
  i32.store offset=12
  local.get $2
  local.get $0
  i32.store offset=16
  local.get $1
  i32.const 20
  i32.sub
  i32.load offset=16
  i32.const -2
  i32.and
  local.get $1
  i32.add
  local.set $2
  local.get $3
  i32.const 16
  i32.add
  local.tee $3
  local.set $0
  loop $while-continue|00
   local.get $1
   local.get $2
   i32.lt_u
   if
    local.get $1
    i32.load16_u
    local.tee $4
    i32.const 128
    i32.lt_u
    if (result i32)
     local.get $0
     local.get $4
     i32.store8
     local.get $0
     i32.const 1
     i32.add
    else
     local.get $4
     i32.const 2048
     i32.lt_u
     if (result i32)
      local.get $0
      local.get $4
      i32.const 6
      i32.shr_u
      i32.const 192
      i32.or
      local.get $4
      i32.const 63
      i32.and
      i32.const 128
      i32.or
      i32.const 8
      i32.shl
      i32.or
      i32.store16
      local.get $0
      i32.const 2
      i32.add
     else
      local.get $4
      i32.const 63488
      i32.and
      i32.const 55296
      i32.eq
      if
       local.get $4
       i32.const 56320
       i32.lt_u
       local.get $1
       i32.const 2
       i32.add
       local.get $2
       i32.lt_u
       i32.and
       if
        local.get $1
        i32.load16_u offset=2
        local.tee $5
        i32.const 64512
        i32.and
        i32.const 56320
        i32.eq
        if
         local.get $0
         local.get $4
         i32.const 1023
         i32.and
         i32.const 10
         i32.shl
         i32.const 65536
         i32.add
         local.get $5
         i32.const 1023
         i32.and
         i32.or
         local.tee $4
         i32.const 63
         i32.and
         i32.const 128
         i32.or
         i32.const 24
         i32.shl
         local.get $4
         i32.const 6
         i32.shr_u
         i32.const 63
         i32.and
         i32.const 128
         i32.or
         i32.const 16
         i32.shl
         i32.or
         local.get $4
         i32.const 12
         i32.shr_u
         i32.const 63
         i32.and
         i32.const 128
         i32.or
         i32.const 8
         i32.shl
         i32.or
         local.get $4
         i32.const 18
         i32.shr_u
         i32.const 240
         i32.or
         i32.or
         i32.store
         local.get $0
         i32.const 4
         i32.add
         local.set $0
         local.get $1
         i32.const 4
         i32.add
         local.set $1
         br $while-continue|00
        end
       end
      end
      local.get $0
      local.get $4
      i32.const 12
      i32.shr_u
      i32.const 224
      i32.or
      local.get $4
      i32.const 6
      i32.shr_u
      i32.const 63
      i32.and
      i32.const 128
      i32.or
      i32.const 8
      i32.shl
      i32.or
      i32.store16
      local.get $0
      local.get $4
      i32.const 63
      i32.and
      i32.const 128
      i32.or
      i32.store8 offset=2
      local.get $0
      i32.const 3
      i32.add
     end
    end
    local.set $0
    local.get $1
    i32.const 2
    i32.add
    local.set $1
    br $while-continue|00
   end
  end
  local.get $3
 )
 (func $~start
  i32.const 1276
  global.set $~lib/rt/stub/offset
 )
 (func $sdk/assemblyscript/least-request/pointsman_score (param $0 i32) (param $1 i32) (param $2 i32) (param $3 i32)
  (local $4 i32)
  (local $5 f64)
  (local $6 i32)
  local.get $0
  i32.load offset=4
  local.set $6
  loop $for-loop|0
   local.get $2
   local.get $4
   i32.gt_u
   if
    local.get $1
    local.get $4
    local.get $6
    i32.mul
    i32.add
    local.tee $0
    f32.load offset=52
    f64.promote_f32
    local.set $5
    local.get $3
    local.get $4
    i32.const 3
    i32.shl
    i32.add
    local.get $0
    i32.load offset=8
    f64.convert_i32_u
    local.get $0
    i32.load offset=12
    f64.convert_i32_u
    f64.const 1
    f64.add
    f64.div
    f64.const 0
    local.get $5
    local.get $5
    local.get $5
    f64.ne
    select
    f64.sub
    f64.store
    local.get $4
    i32.const 1
    i32.add
    local.set $4
    br $for-loop|0
   end
  end
 )
 (func $sdk/assemblyscript/least-request/pointsman_describe (result i64)
  (local $0 i32)
  i32.const 1
  global.set $~argumentsLength
  i32.const 1056
  call $~lib/string/String.UTF8.encode@varargs
  local.tee $0
  i32.const 20
  i32.sub
  i64.load32_s offset=16
  local.get $0
  i64.extend_i32_u
  i64.const 32
  i64.shl
  i64.or
 )
 (func $sdk/assemblyscript/least-request/pointsman_configure (param $0 i32) (param $1 i32) (result i64)
  local.get $1
  i32.const 2
  i32.eq
  if (result i64)
   i64.const 0
  else
   i32.const 1
   global.set $~argumentsLength
   i32.const 1216
   call $~lib/string/String.UTF8.encode@varargs
   local.tee $0
   i32.const 20
   i32.sub
   i64.load32_s offset=16
   local.get $0
   i64.extend_i32_u
   i64.const 32
   i64.shl
   i64.or
  end
 )
 (func $sdk/assemblyscript/least-request/pointsman_alloc (param $0 i32) (param $1 i32) (result i32)
  (local $2 i32)
  (local $3 i32)
  (local $4 i32)
  (local $5 i32)
  local.get $0
  local.get $1
  i32.add
  local.tee $2
  i32.const 1073741820
  i32.gt_u
  if
   unreachable
  end
  global.get $~lib/rt/stub/offset
  i32.const 4
  i32.add
  local.tee $0
  local.get $2
  i32.const 19
  i32.add
  i32.const -16
  i32.and
  i32.const 4
  i32.sub
  local.tee $2
  i32.add
  local.tee $3
  memory.size
  local.tee $4
  i32.const 16
  i32.shl
  i32.const 15
  i32.add
  i32.const -16
  i32.and
  local.tee $5
  i32.gt_u
  if
   local.get $4
   local.get $3
   local.get $5
   i32.sub
   i32.const 65535
   i32.add
   i32.const -65536
   i32.and
   i32.const 16
   i32.shr_u
   local.tee $5
   local.get $4
   local.get $5
   i32.gt_s
   select
   memory.grow
   i32.const 0
   i32.lt_s
   if
    local.get $5
    memory.grow
    i32.const 0
    i32.lt_s
    if
     unreachable
    end
   end
  end
  global.get $~lib/rt/stub/offset
  local.get $3
  global.set $~lib/rt/stub/offset
  local.get $2
  i32.store
  local.get $0
  local.get $1
  i32.add
  i32.const 1
  i32.sub
  local.get $1
  i32.const 1
  i32.sub
  i32.const -1
  i32.xor
  i32.and
 )
 (func $sdk/assemblyscript/least-request/pointsman_abi_version (result i32)
  i32.const 65538
 )
)
