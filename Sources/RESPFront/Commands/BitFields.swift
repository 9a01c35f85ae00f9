import Primitives
import RESPWire
import TieredStore

/// BITFIELD and BITFIELD_RO: integers of 1 to 64 bits anywhere in a string.
enum BitFields {
    /// What a field does when a number does not fit.
    enum Overflow { case wrap, saturate, fail }
    enum Action { case get, set(Int64), add(Int64) }

    struct Field {
        var isSigned: Bool
        var bits: Int
        var offset: Int
        var action: Action
        var overflow: Overflow
    }

    /// BITFIELD key [operation …] → one integer (or null) an operation.
    static func bitField(_ call: Call) throws(CommandError) {
        let (fields, last) = try parse(call)
        guard let last else {
            let value = try call.keys.string(0) ?? .empty
            call.reply.array(fields.count)
            for field in fields { call.reply.integer(read(field, value)) }
            return
        }
        if call.command.flags.contains(.readonly) {
            throw .message("ERR BITFIELD_RO only supports the GET subcommand")
        }
        var isChanged = try call.keys.stringCount(0) ?? 0 <= last >> 3
        let bytes = try BitmapCommands.editable(call, upTo: last)
        call.reply.array(fields.count)
        for field in fields {
            let old = read(field, bytes.view)
            if let result = apply(field, bytes) { call.reply.integer(result) } else { call.reply.null() }
            if read(field, bytes.view) != old { isChanged = true }
        }
        if isChanged { call.notify(.string, "setbit") }
    }

    /// The operations, and the last bit that is written to, if any.
    private static func parse(_ call: Call) throws(CommandError) -> ([Field], Int?) {
        var fields: [Field] = [], last: Int?
        var overflow = Overflow.wrap
        var i = 2
        while i < call.wordCount {
            let word = call.arguments[i], rest = call.wordCount - i - 1
            if word.matches("overflow"), rest >= 1 {
                overflow = try self.overflow(call.arguments[i + 1])
                i += 2
                continue
            }
            let isGet = word.matches("get") && rest >= 2
            let isSet = word.matches("set") && rest >= 3
            guard isGet || isSet || word.matches("incrby") && rest >= 3 else { throw .syntax }
            let (isSigned, bits) = try type(call.arguments[i + 1])
            let offset = try BitmapCommands.offset(call, call.arguments[i + 2], width: bits)
            var action = Action.get
            if !isGet {
                last = max(last ?? 0, offset + bits - 1)
                let number = try Options.integer(call.arguments[i + 3])
                action = isSet ? .set(number) : .add(number)
            }
            fields.append(Field(
                isSigned: isSigned, bits: bits, offset: offset, action: action, overflow: overflow))
            i += isGet ? 3 : 4
        }
        return (fields, last)
    }

    private static func overflow(_ word: ByteView) throws(CommandError) -> Overflow {
        if word.matches("wrap") { return .wrap }
        if word.matches("sat") { return .saturate }
        if word.matches("fail") { return .fail }
        throw .message("ERR Invalid OVERFLOW type specified")
    }

    /// i1 to i64, u1 to u63.
    private static func type(_ word: ByteView) throws(CommandError) -> (isSigned: Bool, bits: Int) {
        let isSigned = !word.isEmpty && word[0] == UInt8(ascii: "i")
        guard isSigned || !word.isEmpty && word[0] == UInt8(ascii: "u"),
            let bits = Decimal.int64(word[1..<word.count]), bits >= 1, bits <= (isSigned ? 64 : 63)
        else {
            throw .message("""
                ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported \
                but i64 is.
                """)
        }
        return (isSigned, Int(bits))
    }

    private static func read(_ field: Field, _ bytes: ByteView) -> Int64 {
        let raw = Int64(bitPattern: bytes.bitField(field.offset, bits: field.bits))
        let unused = Int64(64 - field.bits)
        return field.isSigned ? (raw << unused) >> unused : raw
    }

    private static func write(_ field: Field, _ value: Int64, _ bytes: MutableBytes) {
        let bits = UInt64(bitPattern: value)
        for i in 0..<field.bits {
            let place = field.offset + i, mask = UInt8(0x80) >> UInt8(place & 7)
            let isSet = bits >> UInt64(field.bits - 1 - i) & 1 == 1
            bytes[place >> 3] = isSet ? bytes[place >> 3] | mask : bytes[place >> 3] & ~mask
        }
    }

    /// Carries out one operation; nil when the number does not fit and the field says FAIL.
    private static func apply(_ field: Field, _ bytes: MutableBytes) -> Int64? {
        let old = read(field, bytes.view)
        let start: Int64, amount: Int64
        switch field.action {
        case .get: return old
        case .set(let value): (start, amount) = (value, 0)
        case .add(let increment): (start, amount) = (old, increment)
        }
        var new = start &+ amount
        let instead = field.isSigned
            ? signedOverflow(field, start, amount)
            : unsignedOverflow(field, UInt64(bitPattern: start), amount)
        if let instead {
            if field.overflow == .fail { return nil }
            new = instead
        }
        write(field, new, bytes)
        if case .set = field.action { return old }
        return new
    }

    /// What to store in place of a sum that does not fit, or nil if it fits.
    ///
    /// Why wrapping arithmetic: Redis 7.0 computes the distances to the limits so; with SAT a number
    /// far below the minimum of a narrow field ends at the maximum.
    private static func signedOverflow(_ field: Field, _ value: Int64, _ amount: Int64) -> Int64? {
        let isWide = field.bits == 64
        let most = isWide ? Int64.max : Int64(1) << Int64(field.bits - 1) - 1
        let least = -most - 1
        let up = most &- value, down = least &- value
        let isOver = value > most || !isWide && amount > up || value >= 0 && amount > 0 && amount > up
        let isUnder = value < least || !isWide && amount < down || value < 0 && amount < 0 && amount < down
        guard isOver || isUnder else { return nil }
        if field.overflow == .saturate { return isOver ? most : least }
        let unused = Int64(64 - field.bits)
        return ((value &+ amount) << unused) >> unused
    }

    private static func unsignedOverflow(_ field: Field, _ value: UInt64, _ amount: Int64) -> Int64? {
        let most = UInt64(1) << UInt64(field.bits) - 1
        let up = Int64(bitPattern: most &- value), down = Int64(bitPattern: 0 &- value)
        let isOver = value > most || amount > 0 && amount > up
        guard isOver || amount < 0 && amount < down else { return nil }
        if field.overflow == .saturate { return isOver ? Int64(bitPattern: most) : 0 }
        return Int64(bitPattern: (value &+ UInt64(bitPattern: amount)) & most)
    }
}
