import Primitives

/// Encodes requests as clients send them: arrays of bulk strings.
public enum RequestWriter {
    /// Appends one request to `out`.
    public static func write(_ words: [[UInt8]], to out: inout [UInt8]) {
        precondition(!words.isEmpty, "a request has at least its name")
        out += "*\(words.count)\r\n".utf8
        for word in words {
            out += "$\(word.count)\r\n".utf8
            out += word
            out += "\r\n".utf8
        }
    }

    public static func bytes(_ words: [[UInt8]]) -> [UInt8] {
        var out: [UInt8] = []
        write(words, to: &out)
        return out
    }

    /// Bytes a request takes at most.
    public static func mostBytes(_ request: Arguments) -> Int {
        var bytes = 16
        for i in 0..<request.count { bytes += request[i].count + 16 }
        return bytes
    }

    /// Writes a request where there are `mostBytes`; returns how many it took.
    public static func write(_ request: Arguments, to start: UnsafeMutableRawPointer) -> Int {
        var at = start
        at.storeBytes(of: UInt8(ascii: "*"), as: UInt8.self)
        at += 1 + line(Int64(request.count), to: at + 1)
        for i in 0..<request.count {
            let word = request[i]
            at.storeBytes(of: UInt8(ascii: "$"), as: UInt8.self)
            at += 1 + line(Int64(word.count), to: at + 1)
            at.copyMemory(from: word.base, byteCount: word.count)
            at += word.count
            at.storeBytes(of: 0x0a0d, as: UInt16.self)
            at += 2
        }
        return at - start
    }

    /// Writes a number that is not negative and the end of the line; returns how many bytes it took.
    public static func line(_ number: Int64, to at: UnsafeMutableRawPointer) -> Int {
        var digits = 1, power: Int64 = 10
        while digits < 19, number >= power {
            digits += 1
            power = power &* 10
        }
        var rest = number, i = digits
        while i > 0 {
            i -= 1
            at.storeBytes(of: UInt8(truncatingIfNeeded: 48 + rest % 10), toByteOffset: i, as: UInt8.self)
            rest /= 10
        }
        at.storeBytes(of: 0x0a0d, toByteOffset: digits, as: UInt16.self)
        return digits + 2
    }

    public static func bytes(_ words: [String]) -> [UInt8] { bytes(words.map { Array($0.utf8) }) }
}
