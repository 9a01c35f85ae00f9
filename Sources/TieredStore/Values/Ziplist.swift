import Primitives

/// A packed list as Redis had it before the listpack, up to version 6.2. Only reading.
///
/// Shape:  | bytes 4 | offset of the last entry 4 | entries 2, 65535: not known | entries … | 0xff |.
///         entry = | bytes of the entry before: 1, or 0xfe and 4 | encoding 1, 2 or 5 | data |. Little endian
///         but for the lengths of long texts.
/// Source: Redis 7.0 ziplist.c, the description at its head.
struct Ziplist {
    private static let headerSize = 10
    private static let end: UInt8 = 0xff
    let bytes: ByteView

    init(_ bytes: ByteView) { self.bytes = bytes }

    private struct Entry {
        let element: Element
        let size: Int
        /// Bytes of the entry before, as this one says.
        let previous: Int
    }

    /// The entry at `offset`, if it is sound and ends before the list's last byte.
    private func entry(_ offset: Int) -> Entry? {
        let limit = bytes.count - 1
        var at = offset
        guard limit - at >= 2, bytes[at] < 255 else { return nil }
        var previous = Int(bytes[at])
        at += 1
        if previous == 254 {
            guard limit - at >= 5 else { return nil }
            previous = Int((bytes.base + at).loadUnaligned(as: UInt32.self))
            at += 4
        }
        let code = bytes[at]
        at += 1
        guard let width = Ziplist.width(code), width <= limit - at else { return nil }
        if code >= 0xc0 {
            return Entry(element: .integer(integer(code, at)), size: at + width - offset, previous: previous)
        }
        // Of a text `width` is what is left of its length.
        var count = Int(code & 0x3f)
        if width == 1 { count = count << 8 | Int(bytes[at]) }
        if width == 4 { count = Int((bytes.base + at).loadUnaligned(as: UInt32.self).bigEndian) }
        at += width
        guard count <= limit - at else { return nil }
        return Entry(
            element: .bytes(bytes[at..<at + count]), size: at + count - offset, previous: previous)
    }

    /// Bytes of an integer behind its code, or of a text's length; nil for a code that does not exist.
    private static func width(_ code: UInt8) -> Int? {
        switch code {
        case 0..<0x40: 0
        case 0x40..<0x80: 1
        case 0x80..<0xc0: 4
        case 0xc0: 2
        case 0xd0: 4
        case 0xe0: 8
        case 0xf0: 3
        case 0xfe: 1
        case 0xf1...0xfd: 0
        default: nil
        }
    }

    private func integer(_ code: UInt8, _ at: Int) -> Int64 {
        let p = bytes.base + at
        switch code {
        case 0xc0: return Int64(p.loadUnaligned(as: Int16.self))
        case 0xd0: return Int64(p.loadUnaligned(as: Int32.self))
        case 0xe0: return p.loadUnaligned(as: Int64.self)
        case 0xf0:
            let high = Int64(p.load(fromByteOffset: 2, as: Int8.self))
            return high << 16 | Int64(p.loadUnaligned(as: UInt16.self))
        case 0xfe: return Int64(p.load(as: Int8.self))
        default: return Int64(code & 15) - 1
        }
    }

    /// Visits the elements; stops when `visit` returns false, or at what is not sound.
    func forEach(_ visit: (Element) -> Bool) {
        var at = Ziplist.headerSize
        while let entry = entry(at), visit(entry.element) { at += entry.size }
    }

    /// Whether these bytes are a sound ziplist; its number of elements.
    static func check(_ bytes: ByteView) -> Int? {
        guard bytes.count > headerSize, bytes[bytes.count - 1] == end,
            Int(bytes.base.loadUnaligned(as: UInt32.self)) == bytes.count
        else { return nil }
        let list = Ziplist(bytes), limit = bytes.count - 1
        var at = headerSize, last = 0, count = 0
        while at < limit {
            guard let entry = list.entry(at), entry.previous == (count == 0 ? 0 : at - last)
            else { return nil }
            last = at
            at += entry.size
            count += 1
        }
        let tail = Int(bytes.base.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        guard count == 0 ? tail <= limit : tail == last else { return nil }
        let known = Int(bytes.base.loadUnaligned(fromByteOffset: 8, as: UInt16.self))
        return known == 65535 || known == count ? count : nil
    }
}
