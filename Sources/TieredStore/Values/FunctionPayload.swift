import Primitives

/// FUNCTION DUMP's payload: libraries as an RDB file has them, exchanged with any Redis 7.
///
/// Shape:  | 0xf5 | library's text, a string | … | RDB version, 2 bytes | CRC-64 of all before, 8 bytes |
public enum FunctionPayload {
    private static let opcode = RDBOpcode.function2
    private static let version: UInt16 = 10

    /// Why a payload is refused.
    public enum Refusal: Error { case notIntact, noOpcode, notAFunction, cutOff }

    public static func write(_ libraries: [[UInt8]]) -> [UInt8] {
        var out: [UInt8] = []
        for text in libraries {
            out.append(opcode)
            if text.count < 1 << 6 {
                out.append(UInt8(text.count))
            } else if text.count < 1 << 14 {
                out += [0x40 | UInt8(text.count >> 8), UInt8(text.count & 255)]
            } else {
                out.append(0x80)
                for shift in [24, 16, 8, 0] { out.append(UInt8(truncatingIfNeeded: text.count >> shift)) }
            }
            out += text
        }
        out += [UInt8(version & 255), UInt8(version >> 8)]
        let checksum = out.withView { CRC64.checksum($0) }
        for shift in stride(from: 0, to: 64, by: 8) {
            out.append(UInt8(truncatingIfNeeded: checksum >> shift))
        }
        return out
    }

    /// The libraries' texts, in order.
    public static func read(_ payload: ByteView) throws(Refusal) -> [[UInt8]] {
        guard StagedKeys.isIntact(payload, least: 10) else { throw .notIntact }
        var reader = RDBReader(payload[0..<payload.count - 10])
        var libraries: [[UInt8]] = []
        while reader.remaining > 0 {
            guard reader.byte() == opcode else { throw .notAFunction }
            libraries.append(reader.string().array)
            if reader.failed { throw .cutOff }
        }
        return libraries
    }
}
