/// SHA-1 and SHA-256 (FIPS 180-4): names of scripts, and passwords as ACL shows them. Not for secrets
/// against someone who measures time.
public enum Digests {
    /// 40 hexadecimal digits.
    public static func sha1(_ bytes: ByteView) -> String { hexadecimal(sha1Words(bytes)) }

    /// 20 bytes.
    public static func sha1Bytes(_ bytes: [UInt8]) -> [UInt8] {
        bytes.withView(sha1Words).flatMap { word in
            [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: word >> UInt32($0)) }
        }
    }

    private static func sha1Words(_ bytes: ByteView) -> [UInt32] {
        var state: [UInt32] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0]
        forEachBlock(bytes) { block in
            var w = block
            for i in 16..<80 { w.append(rotateLeft(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1)) }
            var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
            for i in 0..<80 {
                let f: UInt32, k: UInt32
                switch i / 20 {
                case 0: (f, k) = (b & c | ~b & d, 0x5a82_7999)
                case 1: (f, k) = (b ^ c ^ d, 0x6ed9_eba1)
                case 2: (f, k) = (b & c | b & d | c & d, 0x8f1b_bcdc)
                default: (f, k) = (b ^ c ^ d, 0xca62_c1d6)
                }
                (a, b, c, d, e) = (rotateLeft(a, 5) &+ f &+ e &+ k &+ w[i], a, rotateLeft(b, 30), c, d)
            }
            for (i, value) in [a, b, c, d, e].enumerated() { state[i] = state[i] &+ value }
        }
        return state
    }

    /// 64 hexadecimal digits.
    public static func sha256(_ bytes: ByteView) -> String {
        var state: [UInt32] = [
            0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab,
            0x5be0_cd19,
        ]
        forEachBlock(bytes) { block in
            var w = block
            for i in 16..<64 {
                let x = w[i - 15], y = w[i - 2]
                let s0 = rotateLeft(x, 25) ^ rotateLeft(x, 14) ^ x >> 3
                let s1 = rotateLeft(y, 15) ^ rotateLeft(y, 13) ^ y >> 10
                w.append(w[i - 16] &+ s0 &+ w[i - 7] &+ s1)
            }
            var v = state
            for i in 0..<64 {
                let s1 = rotateLeft(v[4], 26) ^ rotateLeft(v[4], 21) ^ rotateLeft(v[4], 7)
                let t1 = v[7] &+ s1 &+ (v[4] & v[5] ^ ~v[4] & v[6]) &+ roundConstants[i] &+ w[i]
                let s0 = rotateLeft(v[0], 30) ^ rotateLeft(v[0], 19) ^ rotateLeft(v[0], 10)
                let t2 = s0 &+ (v[0] & v[1] ^ v[0] & v[2] ^ v[1] & v[2])
                v = [t1 &+ t2, v[0], v[1], v[2], v[3] &+ t1, v[4], v[5], v[6]]
            }
            for i in 0..<8 { state[i] = state[i] &+ v[i] }
        }
        return hexadecimal(state)
    }

    private static func rotateLeft(_ x: UInt32, _ n: UInt32) -> UInt32 { x << n | x >> (32 - n) }

    /// The message in blocks of 16 big-endian words, filled up as both algorithms ask.
    private static func forEachBlock(_ bytes: ByteView, _ body: ([UInt32]) -> Void) {
        let blocks = (bytes.count + 9 + 63) / 64, bits = UInt64(bytes.count) * 8
        for block in 0..<blocks {
            body((0..<16).map { i in
                if block == blocks - 1, i >= 14 {
                    return UInt32(truncatingIfNeeded: i == 14 ? bits >> 32 : bits)
                }
                return (0..<4).reduce(0) { word, j in
                    let at = block * 64 + i * 4 + j
                    let byte: UInt8 = at < bytes.count ? bytes[at] : at == bytes.count ? 0x80 : 0
                    return word << 8 | UInt32(byte)
                }
            })
        }
    }

    private static func hexadecimal(_ words: [UInt32]) -> String {
        words.map { word in
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 8 - digits.count) + digits
        }.joined()
    }

    private static let roundConstants: [UInt32] = [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4,
        0xab1c_5ed5, 0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe,
        0x9bdc_06a7, 0xc19b_f174, 0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f,
        0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da, 0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7,
        0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967, 0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc,
        0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85, 0xa2bf_e8a1, 0xa81a_664b,
        0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070, 0x19a4_c116,
        0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7,
        0xc671_78f2,
    ]
}
