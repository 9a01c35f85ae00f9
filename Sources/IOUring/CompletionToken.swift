/// Names the operation a completion belongs to: what kind, which slot, and which life of the slot.
///
/// The kernel carries these 64 bits from the submission to the completion and never looks inside.
/// Where a slot is reused before its last completion, the generation tells its lives apart. The
/// server reuses none so, and leaves it 0.
///
/// Shape: bits 56–63 kind, 32–55 generation, 0–31 slot.
@frozen public struct CompletionToken: Equatable, Hashable, Sendable {
    public let bits: UInt64

    /// The largest generation; the one after it is 0.
    @inlinable public static var generationLimit: UInt32 { 0xFF_FFFF }

    /// Packs the three parts; of `generation` only the low 24 bits are kept, so a counter may wrap.
    @inlinable @inline(__always)
    public init(kind: UInt8, generation: UInt32, slot: UInt32) {
        let life = UInt64(generation & CompletionToken.generationLimit)
        bits = UInt64(kind) << 56 | life << 32 | UInt64(slot)
    }

    @inlinable @inline(__always)
    public init(bits: UInt64) { self.bits = bits }

    @inlinable @inline(__always)
    public var kind: UInt8 { UInt8(truncatingIfNeeded: bits >> 56) }

    @inlinable @inline(__always)
    public var generation: UInt32 {
        UInt32(truncatingIfNeeded: bits >> 32) & CompletionToken.generationLimit
    }

    @inlinable @inline(__always)
    public var slot: UInt32 { UInt32(truncatingIfNeeded: bits) }
}
