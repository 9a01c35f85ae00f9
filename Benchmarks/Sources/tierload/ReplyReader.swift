import Glibc

/// Finds the end of a reply and says what it was.
struct ReplyReader: Sendable {
    enum Kind { case right, missing, wrong, error }

    /// What is known of the request a reply belongs to.
    struct Expected {
        /// The key whose value the reply is, or -1: any reply that is no error will do.
        var key: Int
        /// Its length; -1 if only the server knows it.
        var size: Int
    }

    let memcached: Bool
    let verifies: Bool

    /// The reply at the head of `bytes`: its length, 0 if it is not whole, and what it is.
    func read(_ bytes: UnsafeRawPointer, _ count: Int, _ expected: Expected) -> (length: Int, kind: Kind) {
        guard let line = ReplyReader.line(bytes, count) else { return (0, .right) }
        if memcached { return readMemcached(bytes, count, line, expected) }
        switch bytes.load(as: UInt8.self) {
        case UInt8(ascii: "-"): return (line, .error)
        case UInt8(ascii: "_"): return (line, .missing)
        case UInt8(ascii: "$"):
            let length = ReplyReader.number(bytes, line)
            if length < 0 { return (line, .missing) }
            if count < line + length + 2 { return (0, .right) }
            return (line + length + 2, check(bytes + line, length, expected))
        case UInt8(ascii: "*"), UInt8(ascii: "%"), UInt8(ascii: "~"), UInt8(ascii: ">"):
            let end = skip(bytes, count, 0)
            return (end, ReplyReader.number(bytes, line) < 0 ? .missing : .right)
        default:
            return (line, expected.key >= 0 ? .wrong : .right)
        }
    }

    private func check(_ value: UnsafeRawPointer, _ length: Int, _ expected: Expected) -> Kind {
        guard verifies, expected.key >= 0 else { return .right }
        guard expected.size < 0 || length == expected.size else { return .wrong }
        return Content.matches(value, key: expected.key, size: length) ? .right : .wrong
    }

    /// Bytes of the first line with its end, if it is whole.
    private static func line(_ bytes: UnsafeRawPointer, _ count: Int) -> Int? {
        guard count > 0, let end = memchr(bytes, 10, count) else { return nil }
        return UnsafeRawPointer(end) - bytes + 1
    }

    /// The number behind the first byte of a line.
    private static func number(_ bytes: UnsafeRawPointer, _ line: Int) -> Int {
        var number = 0, at = 1
        if bytes.load(fromByteOffset: 1, as: UInt8.self) == 45 { return -1 }
        while at < line - 2 {
            number = number &* 10 &+ Int(bytes.load(fromByteOffset: at, as: UInt8.self)) - 48
            at += 1
        }
        return number
    }

    /// The end of the value that begins at `start`, nested ones with it; 0 if it is not whole.
    private func skip(_ bytes: UnsafeRawPointer, _ count: Int, _ start: Int) -> Int {
        var at = start, left = 1
        while left > 0 {
            guard let line = ReplyReader.line(bytes + at, count - at) else { return 0 }
            let number = ReplyReader.number(bytes + at, line)
            switch bytes.load(fromByteOffset: at, as: UInt8.self) {
            case UInt8(ascii: "*"), UInt8(ascii: "~"), UInt8(ascii: ">"): left += max(0, number)
            case UInt8(ascii: "%"): left += 2 * max(0, number)
            case UInt8(ascii: "$"), UInt8(ascii: "="): if number >= 0 { at += number + 2 }
            default: break
            }
            at += line
            if at > count { return 0 }
            left -= 1
        }
        return at
    }

    /// memcached's text protocol: STORED, END, or VALUE key flags bytes, data, END.
    private func readMemcached(
        _ bytes: UnsafeRawPointer, _ count: Int, _ line: Int, _ expected: Expected
    ) -> (length: Int, kind: Kind) {
        switch bytes.load(as: UInt8.self) {
        case UInt8(ascii: "E") where line == 5: return (line, .missing)
        case UInt8(ascii: "S") where line == 8: return (line, .right)
        case UInt8(ascii: "V"):
            var at = line - 3
            while bytes.load(fromByteOffset: at, as: UInt8.self) != 32 { at -= 1 }
            let length = ReplyReader.number(bytes + at, line - at), whole = line + length + 2 + 5
            if count < whole { return (0, .right) }
            return (whole, check(bytes + line, length, expected))
        default: return (line, .error)
        }
    }
}
