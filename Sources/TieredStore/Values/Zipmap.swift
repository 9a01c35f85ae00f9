import Primitives

/// A small hash as Redis had it up to version 2.4. Only reading.
///
/// Shape:  | fields 1, 254: not known | field and value in turn … | 0xff |. field = | length | bytes |,
///         value = | length | bytes that are free 1 | bytes | the free ones |; length = 1 byte below 254, or
///         254 and 4.
/// Source: Redis 7.0 zipmap.c, the description at its head.
struct Zipmap {
    private static let end: UInt8 = 0xff
    private static let long: UInt8 = 254
    let bytes: ByteView

    init(_ bytes: ByteView) { self.bytes = bytes }

    /// A field and its value from `offset` on, if they are sound and end before the map's last byte.
    private func pair(_ offset: Int) -> (field: ByteView, value: ByteView, size: Int)? {
        let limit = bytes.count - 1
        var at = offset
        // 255 stands for the map's end instead of a field; before a value it reads as 254.
        func length(most: UInt8) -> Int? {
            guard at < limit, bytes[at] <= most else { return nil }
            let first = bytes[at]
            at += 1
            if first < Zipmap.long { return Int(first) }
            guard limit - at >= 4 else { return nil }
            at += 4
            return Int((bytes.base + at - 4).loadUnaligned(as: UInt32.self))
        }
        guard let fieldCount = length(most: Zipmap.long), fieldCount <= limit - at else { return nil }
        let field = bytes[at..<at + fieldCount]
        at += fieldCount
        guard let count = length(most: .max), at < limit else { return nil }
        let free = Int(bytes[at])
        at += 1
        guard count + free <= limit - at else { return nil }
        return (field, bytes[at..<at + count], at + count + free - offset)
    }

    /// Visits fields and values; stops when `visit` returns false, or at what is not sound.
    func forEach(_ visit: (ByteView, ByteView) -> Bool) {
        var at = 1
        while let pair = pair(at), visit(pair.field, pair.value) { at += pair.size }
    }

    /// Whether these bytes are a sound zipmap, which is never empty; its number of fields.
    static func check(_ bytes: ByteView) -> Int? {
        guard bytes.count > 2, bytes[bytes.count - 1] == end else { return nil }
        let map = Zipmap(bytes)
        var at = 1, count = 0
        while at < bytes.count - 1 {
            guard let pair = map.pair(at) else { return nil }
            at += pair.size
            count += 1
        }
        return bytes[0] == long || Int(bytes[0]) == count ? count : nil
    }
}
