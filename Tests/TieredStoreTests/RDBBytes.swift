import Glibc
import Primitives
import Testing

@testable import TieredStore

/// Bytes of RDB files and of what is in them, put together by hand from the format's definition.
enum RDBBytes {
    static func text(_ text: String) -> [UInt8] { Array(text.utf8) }

    /// A length of 6, 14 or 32 bits.
    static func length(_ n: Int) -> [UInt8] {
        if n < 64 { return [UInt8(n)] }
        if n < 1 << 14 { return [0x40 | UInt8(n >> 8), UInt8(n & 255)] }
        return [0x80] + big(n)
    }

    static func string(_ bytes: [UInt8]) -> [UInt8] { length(bytes.count) + bytes }
    static func string(_ text: String) -> [UInt8] { string(Array(text.utf8)) }

    static func little(_ n: Int, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: n >> (8 * $0)) }
    }

    static func big(_ n: Int) -> [UInt8] { little(n, 4).reversed() }

    /// A ziplist of entries without the length of the one before.
    static func ziplist(_ entries: [[UInt8]], count: Int? = nil) -> [UInt8] {
        var body: [UInt8] = [], previous = 0, tail = 10
        for entry in entries {
            tail = 10 + body.count
            let head = previous < 254 ? [UInt8(previous)] : [254] + little(previous, 4)
            body += head + entry
            previous = head.count + entry.count
        }
        let head = little(11 + body.count, 4) + little(tail, 4) + little(count ?? entries.count, 2)
        return head + body + [255]
    }

    /// Entries of each kind a ziplist has, and what they are.
    static let ziplistKinds: [(entry: [UInt8], element: [UInt8])] = [
        ([3] + text("abc"), text("abc")),
        ([0], []),
        ([0x40, 70] + [UInt8](repeating: 120, count: 70), [UInt8](repeating: 120, count: 70)),
        ([0x41, 0x2c] + [UInt8](repeating: 121, count: 300), [UInt8](repeating: 121, count: 300)),
        ([0x80] + big(17000) + [UInt8](repeating: 122, count: 17000), [UInt8](repeating: 122, count: 17000)),
        ([0xf1], text("0")), ([0xfd], text("12")),
        ([0xfe, 0x80], text("-128")),
        ([0xc0, 0x00, 0x80], text("-32768")),
        ([0xf0, 0x00, 0x00, 0x80], text("-8388608")), ([0xf0, 0xff, 0xff, 0x7f], text("8388607")),
        ([0xd0, 0x00, 0x00, 0x00, 0x80], text("-2147483648")),
        ([0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], text("9223372036854775807")),
    ]

    /// A listpack of short texts and of integers up to 127.
    static func listpack(_ words: [String]) -> [UInt8] {
        var body: [UInt8] = []
        for word in words {
            if let small = UInt8(word), small < 128 {
                body += [small, 1]
            } else if let integer = Int(word) {
                body += [0xf4] + little(integer, 8) + [9]
            } else {
                body += [0x80 | UInt8(word.utf8.count)] + text(word) + [UInt8(word.utf8.count + 1)]
            }
        }
        return little(7 + body.count, 4) + little(words.count, 2) + body + [255]
    }

    /// A file of items, sealed.
    static func file(_ items: [UInt8], version: Int = 10) -> [UInt8] {
        let digits = String(version)
        var bytes = text("REDIS" + String(repeating: "0", count: 4 - digits.count) + digits) + items + [255]
        if version >= 5 {
            let checksum = bytes.withView { CRC64.checksum($0) }
            bytes += withUnsafeBytes(of: checksum.littleEndian) { Array($0) }
        }
        return bytes
    }

    /// A file beside the tests.
    static func fixture(_ name: String) throws -> [UInt8] {
        var parts = #filePath.split(separator: "/").dropLast(2).map(String.init)
        parts += ["Fixtures", "rdb", name]
        let file = try #require(fopen("/" + parts.joined(separator: "/"), "rb"))
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = fread(&bytes, 1, bytes.count, file)
        try #require(count < bytes.count)
        return Array(bytes.prefix(count))
    }
}
