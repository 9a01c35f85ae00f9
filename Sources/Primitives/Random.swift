/// A seeded generator: the same seed gives the same numbers on every machine. Not for secrets.
///
/// Source: xoshiro256** 1.0 seeded by SplitMix64 (Blackman and Vigna, 2018, prng.di.unimi.it).
@frozen public struct Random: RandomNumberGenerator, Sendable {
    @usableFromInline var s0: UInt64
    @usableFromInline var s1: UInt64
    @usableFromInline var s2: UInt64
    @usableFromInline var s3: UInt64

    public init(seed: UInt64) {
        var mix = seed
        func split() -> UInt64 {
            mix &+= 0x9E37_79B9_7F4A_7C15
            var z = mix
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
        s0 = split()
        s1 = split()
        s2 = split()
        s3 = split()
    }

    @inlinable
    public mutating func next() -> UInt64 {
        let product = s1 &* 5
        let result = (product << 7 | product >> 57) &* 9
        let shifted = s1 << 17
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= shifted
        s3 = s3 << 45 | s3 >> 19
        return result
    }

    /// Uniform in 0..<bound. Source: Lemire, "Fast random integer generation in an interval".
    @inlinable
    public mutating func below(_ bound: UInt64) -> UInt64 {
        precondition(bound > 0, "an empty range has no member")
        var product = next().multipliedFullWidth(by: bound)
        if product.low < bound {
            let threshold = (0 &- bound) % bound
            while product.low < threshold { product = next().multipliedFullWidth(by: bound) }
        }
        return product.high
    }

    /// Uniform in 0..<1, with 53 bits.
    @inlinable
    public mutating func fraction() -> Double {
        Double(next() >> 11) * 0x1p-53
    }
}
