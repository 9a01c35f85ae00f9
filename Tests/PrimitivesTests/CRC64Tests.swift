import Primitives
import Testing

@Suite struct CRC64Tests {
    /// Bit by bit, as the polynomial says.
    private func plain(_ bytes: [UInt8]) -> UInt64 {
        bytes.reduce(UInt64(0)) { crc, byte in
            (0..<8).reduce(crc ^ UInt64(byte)) { crc, _ in
                crc & 1 == 1 ? crc >> 1 ^ 0x95ac_9329_ac4b_c9b5 : crc >> 1
            }
        }
    }

    /// Of any length, from any address, and in two pieces cut anywhere.
    @Test func itIsTheSameHoweverTheBytesCome() {
        var random = Random(seed: 5)
        let bytes = (0..<100).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        for count in 0...90 {
            for start in 0..<9 {
                let wanted = plain(Array(bytes[start..<start + count]))
                #expect(bytes.withView { CRC64.checksum($0[start..<start + count]) } == wanted)
            }
        }
        let whole = plain(bytes)
        for cut in 0...100 {
            let pieces = bytes.withView { CRC64.checksum($0[cut..<100], after: CRC64.checksum($0[0..<cut])) }
            #expect(pieces == whole)
        }
    }
}
