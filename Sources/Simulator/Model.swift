import Primitives

/// What one client's keys must hold: the plainest thing that can be right.
struct Model {
    struct Value {
        var bytes: [UInt8]
        /// Unix milliseconds.
        var expiry: Int64?
    }

    private(set) var values: [[UInt8]: Value] = [:]

    private mutating func live(_ key: [UInt8], _ now: Int64) -> Value? {
        guard let value = values[key] else { return nil }
        if let expiry = value.expiry, expiry <= now {
            values[key] = nil
            return nil
        }
        return value
    }

    static func bulk(_ bytes: [UInt8]?) -> [UInt8] {
        guard let bytes else { return Array("$-1\r\n".utf8) }
        return Array("$\(bytes.count)\r\n".utf8) + bytes + [13, 10]
    }

    private static func integer(_ value: Int) -> [UInt8] { Array(":\(value)\r\n".utf8) }
    private static let ok = Array("+OK\r\n".utf8)

    /// The reply a request must get; nil for requests whose reply is not predicted.
    mutating func reply(to words: [[UInt8]], now: Int64) -> [UInt8]? {
        switch String(decoding: words[0], as: UTF8.self) {
        case "GET": return Model.bulk(live(words[1], now)?.bytes)
        case "SET": return set(words, now)
        case "DEL":
            var count = 0
            for key in words.dropFirst() where live(key, now) != nil {
                values[key] = nil
                count += 1
            }
            return Model.integer(count)
        case "APPEND":
            var value = live(words[1], now) ?? Value(bytes: [], expiry: nil)
            value.bytes += words[2]
            values[words[1]] = value
            return Model.integer(value.bytes.count)
        case "STRLEN": return Model.integer(live(words[1], now)?.bytes.count ?? 0)
        case "EXISTS": return Model.integer(live(words[1], now) == nil ? 0 : 1)
        case "MGET":
            let parts = words.dropFirst().map { Model.bulk(live($0, now)?.bytes) }
            return Array("*\(parts.count)\r\n".utf8) + parts.flatMap { $0 }
        case "RENAME":
            guard let value = live(words[1], now) else { return Array("-ERR no such key\r\n".utf8) }
            values[words[1]] = nil
            values[words[2]] = value
            return Model.ok
        case "SETRANGE": return setRange(words, now)
        case "TIER": return nil
        default: preconditionFailure("the model does not know \(words[0])")
        }
    }

    private mutating func set(_ words: [[UInt8]], _ now: Int64) -> [UInt8] {
        var value = Value(bytes: words[2], expiry: nil)
        if words.count == 5 {
            value.expiry = Int64(String(decoding: words[4], as: UTF8.self))!
        }
        values[words[1]] = value
        return Model.ok
    }

    private mutating func setRange(_ words: [[UInt8]], _ now: Int64) -> [UInt8] {
        let offset = Int(String(decoding: words[2], as: UTF8.self))!
        var value = live(words[1], now) ?? Value(bytes: [], expiry: nil)
        if words[3].isEmpty { return Model.integer(value.bytes.count) }
        let end = offset + words[3].count
        if value.bytes.count < end {
            value.bytes += [UInt8](repeating: 0, count: end - value.bytes.count)
        }
        value.bytes.replaceSubrange(offset..<end, with: words[3])
        values[words[1]] = value
        return Model.integer(value.bytes.count)
    }
}
