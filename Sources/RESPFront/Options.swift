import Primitives
import RESPWire
import TieredStore

/// Pieces of option grammar that several commands share.
enum Options {
    /// A word that must be a 64-bit integer.
    static func integer(_ word: ByteView) throws(CommandError) -> Int64 {
        guard let value = Decimal.int64(word) else { throw .notAnInteger }
        return value
    }

    /// Where a SCAN goes on. As strtoul reads it: a negative number wraps around, and is past the end.
    static func cursor(_ word: ByteView) throws(CommandError) -> UInt64 {
        guard let cursor = Decimal.uint64(word) ?? Decimal.int64(word).map({ UInt64(bitPattern: $0) })
        else { throw .message("ERR invalid cursor") }
        return cursor
    }

    enum TimeUnit { case seconds, milliseconds }

    /// An expiry in Unix milliseconds from a relative or absolute time; must be positive and fit.
    static func expiry(
        _ word: ByteView, _ unit: TimeUnit, isAbsolute: Bool, now: Int64
    ) throws(CommandError) -> Int64 {
        let given = try integer(word)
        guard given > 0 else { throw .invalidExpiry }
        return try expiry(given, unit, isAbsolute: isAbsolute, now: now)
    }

    /// The same for commands that take times in the past.
    static func expiry(
        _ given: Int64, _ unit: TimeUnit, isAbsolute: Bool, now: Int64
    ) throws(CommandError) -> Int64 {
        var time = given
        if unit == .seconds {
            let (product, overflows) = time.multipliedReportingOverflow(by: 1000)
            if overflows { throw .invalidExpiry }
            time = product
        }
        if !isAbsolute {
            let (sum, overflows) = time.addingReportingOverflow(now)
            if overflows { throw .invalidExpiry }
            time = sum
        }
        return time
    }

    /// EX, PX, EXAT or PXAT at word `i` with its argument: the expiry in Unix milliseconds.
    static func expiryOption(_ call: Call, _ i: Int) throws(CommandError) -> Int64? {
        let word = call.arguments[i]
        let unit: TimeUnit, isAbsolute: Bool
        if word.matches("ex") {
            (unit, isAbsolute) = (.seconds, false)
        } else if word.matches("px") {
            (unit, isAbsolute) = (.milliseconds, false)
        } else if word.matches("exat") {
            (unit, isAbsolute) = (.seconds, true)
        } else if word.matches("pxat") {
            (unit, isAbsolute) = (.milliseconds, true)
        } else {
            return nil
        }
        guard i + 1 < call.wordCount else { throw .syntax }
        return try expiry(call.arguments[i + 1], unit, isAbsolute: isAbsolute, now: call.now)
    }

    static func isExpiryWord(_ word: ByteView) -> Bool {
        word.matches("ex") || word.matches("px") || word.matches("exat") || word.matches("pxat")
    }

    /// The same word but for ASCII case.
    static func isSameWord(_ a: ByteView, _ b: ByteView) -> Bool {
        a.count == b.count
            && (0..<a.count).allSatisfy { ByteView.lowercased(a[$0]) == ByteView.lowercased(b[$0]) }
    }

    /// A blocking command's timeout in seconds, as a decimal number: the Unix time in milliseconds at
    /// which it ends, 0 for never. Errors: Redis 7.0's messages.
    static func deadline(_ call: Call, _ word: ByteView) throws(CommandError) -> Int64 {
        guard let seconds = Decimal.longDouble(word), !seconds.isNaN else {
            throw .message("ERR timeout is not a float or out of range")
        }
        let milliseconds = (seconds * 1000).rounded(.up)
        // Redis 7.0: what does not fit wraps around.
        if milliseconds < 0 || milliseconds >= 0x1p63 { throw .message("ERR timeout is negative") }
        if milliseconds == 0 { return 0 }
        let (end, overflows) = call.now.addingReportingOverflow(Int64(milliseconds))
        if overflows { throw .message("ERR timeout is out of range") }
        return end
    }

    /// An index of a database.
    static func database(_ call: Call, _ word: ByteView) throws(CommandError) -> Int {
        guard let index = Decimal.int64(word) else { throw .notAnInteger }
        guard index >= 0, index < call.server.store.options.databases else {
            throw .message("ERR DB index is out of range")
        }
        return Int(index)
    }
}
