/// The checksum of RDB files and DUMP payloads.
///
/// Source: CRC-64/Jones (polynomial 0xad93d23594c935a9, reflected, initial value 0), as Redis 7.0 crc64.c.
public enum CRC64 {
    private static let table: [UInt64] = (0..<256).map { byte in
        var crc = UInt64(byte)
        // The reflected polynomial.
        for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x95ac_9329_ac4b_c9b5 : crc >> 1 }
        return crc
    }

    public static func checksum(_ bytes: ByteView, after crc: UInt64 = 0) -> UInt64 {
        table.withUnsafeBufferPointer { table in
            var crc = crc
            for byte in bytes.buffer { crc = table[Int(UInt8(truncatingIfNeeded: crc) ^ byte)] ^ crc >> 8 }
            return crc
        }
    }
}
