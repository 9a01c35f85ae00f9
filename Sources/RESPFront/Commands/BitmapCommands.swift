import Primitives
import RESPWire
import TieredStore

/// Strings as arrays of bits, as in Redis 7.0; BITFIELD is in `BitFields`.
enum BitmapCommands {
    static func rows() -> [Command] {
        let all = Command.Keys.range(first: 2, last: -1, step: 1)
        return [
            row("getbit", 3, [.readonly, .fast], "2.2.0", "Returns a bit of a string.", "key offset", getBit),
            row("setbit", 4, [.write, .growsMemory], "2.2.0",
                "Sets or clears a bit of a string and returns what it was.", "key offset value", setBit),
            row("bitcount", -2, [.readonly], "2.6.0", "Counts the set bits of a string.",
                "key [start end [BYTE | BIT]]", complexity: "O(N) in the bytes looked at", bitCount),
            row("bitpos", -3, [.readonly], "2.8.7", "Finds the first bit that is set or clear.",
                "key bit [start [end [BYTE | BIT]]]", complexity: "O(N) in the bytes looked at", bitPosition),
            row("bitop", -4, keys: all, [.write, .growsMemory], "2.6.0",
                "Puts strings together bit by bit and stores the result.",
                "operation destkey key [key ...]", complexity: "O(N) in the bytes of the keys", bitOperation)
                .specs(.at(2, "OW update"), .from(3, "RO access")),
            row("bitfield", -2, [.write, .growsMemory], "3.2.0",
                "Reads, sets and counts integers of any width in a string.",
                "key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | "
                    + "INCRBY encoding offset increment> ...]",
                complexity: "O(1) for each integer", BitFields.bitField)
                .access("RW access update variable_flags"),
            row("bitfield_ro", -2, [.readonly, .fast], "6.0.0",
                "Reads integers of any width in a string.",
                "key [GET encoding offset [GET encoding offset ...]]",
                complexity: "O(1) for each integer", BitFields.bitField),
        ]
    }

    private static func row(
        _ name: String, _ arity: Int, keys: Command.Keys = .first, _ flags: CommandFlags, _ since: String,
        _ summary: String, _ syntax: String, complexity: String = "O(1)", _ handler: @escaping Command.Handler
    ) -> Command {
        Command(name, arity, keys: keys, needs: .value, flags, group: "bitmap", since: since,
            complexity: complexity, summary, syntax: syntax, handler)
    }

    private static let badOffset = "ERR bit offset is not an integer or out of range"

    /// A bit's place; with `#` it is counted in fields of `width` bits (BITFIELD).
    static func offset(_ call: Call, _ word: ByteView, width: Int? = nil) throws(CommandError) -> Int {
        var digits = word, factor: Int64 = 1
        if let width, !word.isEmpty, word[0] == UInt8(ascii: "#") {
            digits = word[1..<word.count]
            factor = Int64(width)
        }
        guard let number = Decimal.int64(digits) else { throw .message(badOffset) }
        let offset = number &* factor
        guard offset >= 0, offset >> 3 < Int64(call.configuration.requestLimits.bulkBytes)
        else { throw .message(badOffset) }
        return Int(offset)
    }

    /// The string's bytes for changing, long enough for bit `last`.
    static func editable(_ call: Call, upTo last: Int) throws(CommandError) -> MutableBytes {
        let old = try call.keys.stringCount(0) ?? 0
        let needed = last >> 3 + 1
        if needed > old { try call.requireRoom(needed) }
        return try call.keys.editString(0, count: max(old, needed))
    }

    /// GETBIT key offset → 0 or 1.
    static func getBit(_ call: Call) throws(CommandError) {
        let offset = try offset(call, call.arguments[2])
        let value = try call.keys.string(0) ?? .empty
        call.reply.integer(Int64(value.bitField(offset, bits: 1)))
    }

    /// SETBIT key offset value → the old bit.
    static func setBit(_ call: Call) throws(CommandError) {
        let offset = try offset(call, call.arguments[2])
        let bit = try call.integer(3, orFail: "ERR bit is not an integer or out of range")
        guard bit & ~1 == 0 else { throw .message("ERR bit is not an integer or out of range") }
        let oldCount = try call.keys.stringCount(0) ?? 0
        let bytes = try editable(call, upTo: offset)
        let mask = UInt8(0x80) >> UInt8(offset & 7)
        let old = bytes[offset >> 3]
        bytes[offset >> 3] = bit == 1 ? old | mask : old & ~mask
        if oldCount <= offset >> 3 || bytes[offset >> 3] != old { call.notify(.string, "setbit") }
        call.reply.integer(old & mask == 0 ? 0 : 1)
    }

    /// BYTE or BIT: true for BIT.
    private static func countsBits(_ word: ByteView) throws(CommandError) -> Bool {
        if word.matches("bit") { return true }
        if word.matches("byte") { return false }
        throw .syntax
    }

    /// Both ends of a range as bits of a string of `count` bytes; nil if it is empty.
    private static func bits(
        _ start: Int64, _ end: Int64, count: Int, areBits: Bool
    ) -> (first: Int, last: Int)? {
        let total = Int64(count) * (areBits ? 8 : 1)
        var (start, end) = (start, end)
        if start < 0 { start = max(0, total + start) }
        if end < 0 { end = max(0, total + end) }
        end = min(end, total - 1)
        if start > end { return nil }
        return areBits ? (Int(start), Int(end)) : (Int(start) * 8, Int(end) * 8 + 7)
    }

    /// BITCOUNT key [start end [BYTE | BIT]] → set bits.
    static func bitCount(_ call: Call) throws(CommandError) {
        guard let value = try call.keys.string(0) else { return call.reply.integer(0) }
        if call.wordCount == 2 { return call.reply.integer(value.bitCount(0, value.count * 8 - 1)) }
        guard call.wordCount == 4 || call.wordCount == 5 else { throw .syntax }
        let start = try Options.integer(call.arguments[2])
        let end = try Options.integer(call.arguments[3])
        if start < 0, end < 0, start > end { return call.reply.integer(0) }
        let areBits = call.wordCount == 5 ? try countsBits(call.arguments[4]) : false
        guard let range = bits(start, end, count: value.count, areBits: areBits)
        else { return call.reply.integer(0) }
        call.reply.integer(value.bitCount(range.first, range.last))
    }

    /// BITPOS key bit [start [end [BYTE | BIT]]] → the bit's place or -1. A clear bit is also found
    /// behind the string's end, unless an end was given.
    static func bitPosition(_ call: Call) throws(CommandError) {
        let bit = try Options.integer(call.arguments[2])
        guard bit == 0 || bit == 1 else { throw .message("ERR The bit argument must be 1 or 0.") }
        guard let value = try call.keys.string(0) else { return call.reply.integer(bit == 1 ? -1 : 0) }
        guard call.wordCount <= 6 else { throw .syntax }
        let start = call.wordCount > 3 ? try Options.integer(call.arguments[3]) : 0
        let areBits = call.wordCount == 6 ? try countsBits(call.arguments[5]) : false
        let end = call.wordCount > 4 ? try Options.integer(call.arguments[4]) : -1
        guard let range = bits(start, end, count: value.count, areBits: areBits)
        else { return call.reply.integer(-1) }
        if let found = value.firstBit(bit == 1, range.first, range.last) { return call.reply.integer(found) }
        call.reply.integer(bit == 0 && call.wordCount < 5 ? range.last + 1 : -1)
    }

    /// BITOP AND | OR | XOR | NOT destination key … → the result's length.
    static func bitOperation(_ call: Call) throws(CommandError) {
        let word = call.arguments[1], operation: BitOperation
        if word.matches("and") {
            operation = .and
        } else if word.matches("or") {
            operation = .or
        } else if word.matches("xor") {
            operation = .xor
        } else if word.matches("not") {
            operation = .not
        } else {
            throw .syntax
        }
        if operation == .not, call.wordCount != 4 {
            throw .message("ERR BITOP NOT must be called with a single source key.")
        }
        var length = 0
        for i in 1..<call.keys.count { length = max(length, try call.keys.stringCount(i) ?? 0) }
        try call.requireRoom(length)
        var sources: [ByteView] = []
        // Peeked at: promoting one would move the others.
        for i in 1..<call.keys.count {
            sources.append(try call.keys.peekString(i) ?? .empty)
            call.keys.countLookup(i)
            call.keys.touch(i)
        }
        let result = operation.combine(sources)
        let existed = call.keys.delete(0)
        if length == 0, existed { call.notify(.generic, "del") }
        if length > 0 {
            let bytes = try call.keys.editString(0, count: length)
            result.withView { bytes.copy($0, at: 0) }
            call.notify(.string, "set")
        }
        call.reply.integer(length)
    }
}
