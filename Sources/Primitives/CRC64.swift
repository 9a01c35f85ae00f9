/// The checksum of RDB files and DUMP payloads.
///
/// Cost:   eight bytes a step, by one table for each of them, so that a file of many GB is not held up.
/// Source: CRC-64/Jones (polynomial 0xad93d23594c935a9, reflected, initial value 0), as Redis 7.0 crc64.c;
///         slicing by 8 (Kounavis and Berry, 2005).
public enum CRC64 {
    private static let slices = 8

    /// Table t has for each byte the checksum of that byte and t zeros behind it.
    private static let tables: [UInt64] = {
        var tables = (0..<256).map { byte in
            var crc = UInt64(byte)
            // The reflected polynomial.
            for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x95ac_9329_ac4b_c9b5 : crc >> 1 }
            return crc
        }
        for i in 256..<slices * 256 {
            let before = tables[i - 256]
            tables.append(tables[Int(before & 255)] ^ before >> 8)
        }
        return tables
    }()

    /// Goes on from `crc`, the checksum of what came before.
    public static func checksum(_ bytes: ByteView, after crc: UInt64 = 0) -> UInt64 {
        tables.withUnsafeBufferPointer { tables in
            let table = tables.baseAddress!
            var crc = crc, at = bytes.base
            let end = bytes.base + bytes.count
            while end - at >= slices {
                let word = crc ^ at.loadUnaligned(as: UInt64.self).littleEndian
                var next = table[Int(word >> 56)]
                next ^= table[256 + Int(word >> 48 & 255)]
                next ^= table[512 + Int(word >> 40 & 255)]
                next ^= table[768 + Int(word >> 32 & 255)]
                next ^= table[1024 + Int(word >> 24 & 255)]
                next ^= table[1280 + Int(word >> 16 & 255)]
                next ^= table[1536 + Int(word >> 8 & 255)]
                crc = next ^ table[1792 + Int(word & 255)]
                at += slices
            }
            while at < end {
                crc = table[Int(UInt8(truncatingIfNeeded: crc) ^ at.load(as: UInt8.self))] ^ crc >> 8
                at += 1
            }
            return crc
        }
    }
}
