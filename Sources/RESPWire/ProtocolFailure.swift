import Primitives

/// Why a request cannot be understood. The connection answers with `ReplyWriter.failure` and
/// closes: the place of the next request is lost.
/// Source: Redis 7.0 networking.c, processInlineBuffer and processMultibulkBuffer.
public enum ProtocolFailure: Equatable, Sendable {
    case invalidMultibulkLength
    case unauthenticatedMultibulkLength
    /// The byte found where a `$` should be.
    case expectedBulk(UInt8)
    case invalidBulkLength
    case unauthenticatedBulkLength
    case multibulkCountTooLong
    case bulkCountTooLong
    case inlineTooLong
    case unbalancedQuotes
    /// The request would need more than `RequestLimits.requestBytes` of buffer. Redis closes
    /// without a word (client-query-buffer-limit).
    case requestTooLarge

    /// The wire text without the byte of `expectedBulk`.
    var text: StaticString {
        switch self {
        case .invalidMultibulkLength: "invalid multibulk length"
        case .unauthenticatedMultibulkLength: "unauthenticated multibulk length"
        case .expectedBulk: "expected '$', got '"
        case .invalidBulkLength: "invalid bulk length"
        case .unauthenticatedBulkLength: "unauthenticated bulk length"
        case .multibulkCountTooLong: "too big mbulk count string"
        case .bulkCountTooLong: "too big bulk count string"
        case .inlineTooLong: "too big inline request"
        case .unbalancedQuotes: "unbalanced quotes in request"
        case .requestTooLarge: "too big request"
        }
    }
}

/// Limits on what one request may ask the server to hold.
public struct RequestLimits: Sendable {
    /// Bytes in one word; Redis's proto-max-bulk-len.
    public var bulkBytes = 512 << 20
    /// Bytes of one unfinished request; Redis's client-query-buffer-limit. Under 4 GiB, because
    /// word offsets are 32 bits.
    public var requestBytes = 1 << 30
    /// Bytes of a line (inline command, count) still without its end. Redis PROTO_INLINE_MAX_SIZE.
    public static let lineBytes = 64 << 10
    /// Words in a request: INT_MAX in Redis 7.0.
    static let words: Int64 = 0x7fff_ffff
    /// Words in a request, and bytes in a word, before AUTH.
    static let unauthenticatedWords: Int64 = 10
    static let unauthenticatedBulkBytes = 16384

    public init() {}
}
