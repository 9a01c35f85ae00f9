extension CRC64 {
    /// Appends bytes to a checksum by their own checksum alone.
    ///
    /// Method: a checksum is linear over GF(2); the zero bytes that the other part's length stands for are a
    /// 64 × 64 bit matrix, squared for each doubling. The matrix of the last length is kept.
    /// Source: zlib's crc32_combine (Mark Adler) for the method.
    public struct Shift {
        private var count = -1
        private var matrix = [UInt64](repeating: 0, count: 64)

        public init() {}

        /// The checksum of a part with `first` followed by `count` bytes with `second`.
        public mutating func combine(_ first: UInt64, _ second: UInt64, count: Int) -> UInt64 {
            if first == 0 || count == 0 { return first ^ second }
            if count != self.count {
                self.count = count
                matrix = Shift.matrix(zeros: count)
            }
            return Shift.times(matrix, first) ^ second
        }

        private static func times(_ matrix: [UInt64], _ vector: UInt64) -> UInt64 {
            var sum: UInt64 = 0, rest = vector
            while rest != 0 {
                sum ^= matrix[rest.trailingZeroBitCount]
                rest &= rest - 1
            }
            return sum
        }

        private static func product(_ a: [UInt64], _ b: [UInt64]) -> [UInt64] { b.map { times(a, $0) } }

        /// What `count` zero bytes do to a checksum, bit by bit.
        private static func matrix(zeros count: Int) -> [UInt64] {
            // One zero byte: a byte of the table for the low eight bits, a shift for the others.
            var power = (0..<64).map { bit in
                [UInt8(0)].withView { CRC64.checksum($0, after: 1 << UInt64(bit)) }
            }
            var result: [UInt64]?, rest = count
            while rest > 0 {
                if rest & 1 == 1 { result = result.map { product(power, $0) } ?? power }
                rest >>= 1
                if rest > 0 { power = product(power, power) }
            }
            return result ?? (0..<64).map { 1 << UInt64($0) }
        }
    }
}
