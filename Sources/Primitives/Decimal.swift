import CSystem
import Glibc

#if arch(x86_64)
/// What INCRBYFLOAT computes in: C's long double, 64 bits of mantissa on x86-64.
public typealias LongDouble = Float80
#else
/// What INCRBYFLOAT computes in: Swift has no long double here, so 53 bits of mantissa.
public typealias LongDouble = Double
#endif

/// Numbers as text, both ways, with Redis's rules about what is a number.
///
/// Integers are strict: one form per value, so "007", "+7", "-0" and " 7" are not integers. That
/// is what lets a string hold either an integer or its exact bytes.
/// Source: Redis 7.0 util.c, string2ll, string2d, string2ld, ld2string.
public enum Decimal {
    /// Bytes enough for any 64-bit integer with its sign.
    public static let integerBytesMax = 20
    /// Bytes enough for any "%.17g".
    public static let doubleBytesMax = 32
    /// Bytes enough for any long double in the fixed form; longer text is no number (as Redis).
    public static let fixedBytesMax = 5 * 1024

    /// The integer written in exactly these bytes, or nil (malformed, or out of range).
    @inlinable
    public static func int64(_ text: ByteView) -> Int64? {
        guard text.count > 0, text.count <= integerBytesMax else { return nil }
        guard text[0] == UInt8(ascii: "-") else {
            guard let magnitude = uint64(text) else { return nil }
            return Int64(exactly: magnitude)
        }
        guard let magnitude = uint64(text[1..<text.count]), magnitude != 0 else { return nil }
        guard magnitude <= UInt64(1) << 63 else { return nil }
        return Int64(truncatingIfNeeded: 0 &- magnitude)
    }

    /// The unsigned integer written in exactly these bytes, or nil (malformed, or out of range).
    @inlinable
    public static func uint64(_ text: ByteView) -> UInt64? {
        guard text.count > 0, text.count <= integerBytesMax else { return nil }
        var value = UInt64(text[0] &- 48)
        guard value < 10 else { return nil }
        if value == 0 { return text.count == 1 ? 0 : nil }
        for i in 1..<text.count {
            let digit = UInt64(text[i] &- 48)
            guard digit < 10 else { return nil }
            // Nineteen digits cannot overflow; only the twentieth needs the checks.
            if i < 19 {
                value = value &* 10 &+ digit
            } else {
                let (product, overflow) = value.multipliedReportingOverflow(by: 10)
                let (sum, carry) = product.addingReportingOverflow(digit)
                if overflow || carry { return nil }
                value = sum
            }
        }
        return value
    }

    /// How many digits `value` has.
    @inlinable
    public static func digitCount(_ value: UInt64) -> Int {
        if value < 10 { return 1 }
        if value < 100 { return 2 }
        if value < 1000 { return 3 }
        if value < 10_000 { return 4 }
        var count = 4
        var rest = value / 10_000
        while rest != 0 {
            count += 1
            rest /= 10
        }
        return count
    }

    /// Writes `value`; `out` must have `integerBytesMax` bytes. Returns the bytes written.
    @inlinable @discardableResult
    public static func write(_ value: UInt64, to out: UnsafeMutableRawPointer) -> Int {
        let count = digitCount(value)
        let pairs: StaticString = """
            00010203040506070809101112131415161718192021222324252627282930313233343536373839\
            40414243444546474849505152535455565758596061626364656667686970717273747576777879\
            8081828384858687888990919293949596979899
            """
        var rest = value
        var at = count
        while rest >= 100 {
            let pair = Int(truncatingIfNeeded: rest % 100) &* 2
            rest /= 100
            at &-= 2
            out.storeBytes(of: pairs.utf8Start[pair], toByteOffset: at, as: UInt8.self)
            out.storeBytes(of: pairs.utf8Start[pair &+ 1], toByteOffset: at &+ 1, as: UInt8.self)
        }
        if rest >= 10 {
            let pair = Int(truncatingIfNeeded: rest) &* 2
            out.storeBytes(of: pairs.utf8Start[pair], toByteOffset: 0, as: UInt8.self)
            out.storeBytes(of: pairs.utf8Start[pair &+ 1], toByteOffset: 1, as: UInt8.self)
        } else {
            out.storeBytes(of: UInt8(truncatingIfNeeded: rest) &+ 48, as: UInt8.self)
        }
        return count
    }

    /// Writes `value`; `out` must have `integerBytesMax` bytes. Returns the bytes written.
    @inlinable @discardableResult
    public static func write(_ value: Int64, to out: UnsafeMutableRawPointer) -> Int {
        if value >= 0 { return write(UInt64(value), to: out) }
        out.storeBytes(of: UInt8(ascii: "-"), as: UInt8.self)
        return 1 + write(value.magnitude, to: out + 1)
    }
}

extension Decimal {
    /// The double written in all of these bytes, as strtod reads it: hexadecimal and "inf",
    /// "infinity", "nan" are accepted. Nil: empty, leading space, left-over bytes, overflow or
    /// underflow. The caller refuses nan and, where Redis does, infinities.
    public static func double(_ text: ByteView) -> Double? {
        // Most scores; every integer of so few digits is a double.
        if text.count <= 15, let integer = int64(text) { return Double(integer) }
        var value: Double = 0
        let parsed = withTerminated(text) { csystem_parse_double($0, text.count, &value) }
        return parsed == 1 ? value : nil
    }

    /// The double these bytes begin with and end with, as C's strtod reads it without more ado: leading
    /// space is passed over, what overflows is infinite, nothing at all is 0. Nil: left-over bytes, nan.
    /// Source: Redis 7.0 zslParseRange.
    public static func lenientDouble(_ text: ByteView) -> Double? {
        guard text.count < fixedBytesMax else { return nil }
        return withUnsafeTemporaryAllocation(byteCount: text.count + 1, alignment: 1) { copy in
            let start = copy.baseAddress!
            start.copyMemory(from: text.base, byteCount: text.count)
            start.storeBytes(of: 0, toByteOffset: text.count, as: UInt8.self)
            let first = start.assumingMemoryBound(to: CChar.self)
            var end: UnsafeMutablePointer<CChar>?
            let value = strtod(first, &end)
            return end.map { $0.pointee != 0 } ?? true || value.isNaN ? nil : value
        }
    }

    /// As `double`, in the precision INCRBYFLOAT computes in; nan is refused as in Redis.
    public static func longDouble(_ text: ByteView) -> LongDouble? {
        var value: LongDouble = 0
        #if arch(x86_64)
        let parsed = withTerminated(text) { csystem_parse_long_double($0, text.count, &value) }
        #else
        let parsed = withTerminated(text) { csystem_parse_double($0, text.count, &value) }
        #endif
        return parsed == 1 && !value.isNaN ? value : nil
    }

    /// Lends `text` with a NUL behind it, on the stack; 0 for what can be no number.
    private static func withTerminated(
        _ text: ByteView, _ body: (UnsafePointer<CChar>) -> Int32
    ) -> Int32 {
        guard text.count > 0, text.count < fixedBytesMax else { return 0 }
        // isspace: the one thing strtod forgives that Redis does not.
        let first = text[0]
        guard first != 32, first &- 9 > 4 else { return 0 }
        return withUnsafeTemporaryAllocation(byteCount: text.count + 1, alignment: 1) { copy in
            let start = copy.baseAddress!
            start.copyMemory(from: text.base, byteCount: text.count)
            start.storeBytes(of: 0, toByteOffset: text.count, as: UInt8.self)
            return body(UnsafePointer(start.assumingMemoryBound(to: CChar.self)))
        }
    }

    /// Writes `value` as "%.17g", infinities as "inf" and "-inf"; `out` must have
    /// `doubleBytesMax` bytes. Returns the bytes written.
    /// Source: Redis 7.0 addReplyDouble (ZSCORE: 3.1 is "3.1000000000000001").
    public static func write(_ value: Double, to out: UnsafeMutableRawPointer) -> Int {
        let text = out.assumingMemoryBound(to: CChar.self)
        return Int(csystem_format_double(text, doubleBytesMax, value))
    }

    /// `value` as `write` writes it.
    public static func text(_ value: Double) -> [UInt8] {
        withUnsafeTemporaryAllocation(byteCount: doubleBytesMax, alignment: 8) {
            ByteView(UnsafeRawPointer($0.baseAddress!), write(value, to: $0.baseAddress!)).array
        }
    }

    /// `value` with so many decimals, as C's "%.4f".
    public static func fixed(_ value: Double, decimals: Int) -> [UInt8] {
        withUnsafeTemporaryAllocation(byteCount: 512, alignment: 8) {
            let text = $0.baseAddress!.assumingMemoryBound(to: CChar.self)
            let count = csystem_format_decimals(text, 512, value, Int32(decimals))
            return ByteView(UnsafeRawPointer($0.baseAddress!), Int(count)).array
        }
    }

    /// `value` as `writeFixed` writes it.
    public static func fixedText(_ value: LongDouble) -> [UInt8] {
        withUnsafeTemporaryAllocation(byteCount: fixedBytesMax, alignment: 8) {
            ByteView(UnsafeRawPointer($0.baseAddress!), writeFixed(value, to: $0.baseAddress!)).array
        }
    }

    /// Writes `value` with 17 decimals and no trailing zeroes; `out` must have `fixedBytesMax`
    /// bytes. Returns the bytes written. Source: Redis 7.0 ld2string, LD_STR_HUMAN.
    public static func writeFixed(_ value: LongDouble, to out: UnsafeMutableRawPointer) -> Int {
        let text = out.assumingMemoryBound(to: CChar.self)
        #if arch(x86_64)
        var count = Int(csystem_format_long_fixed(text, fixedBytesMax, value))
        #else
        var count = Int(csystem_format_fixed(text, fixedBytesMax, value))
        #endif
        precondition(count > 0 && count < fixedBytesMax, "a long double outgrew its buffer")
        guard memchr(out, 46, count) != nil else { return count }
        while text[count - 1] == 48 { count -= 1 }
        if text[count - 1] == 46 { count -= 1 }
        guard count == 2, text[0] == 45, text[1] == 48 else { return count }
        text[0] = 48
        return 1
    }
}
