/// One reply, as a client sees it: every kind of RESP2 and RESP3.
public indirect enum Reply: Equatable, Sendable {
    case simple([UInt8])
    case error([UInt8])
    case integer(Int64)
    case bulk([UInt8])
    /// RESP2 "$-1", RESP3 "_".
    case null
    /// RESP2 "*-1".
    case nullArray
    case array([Reply])
    case map([Pair])
    case set([Reply])
    case push([Reply])
    case double(Double)
    case boolean(Bool)
    /// The digits.
    case bigNumber([UInt8])
    /// A three-letter format and the text.
    case verbatim([UInt8], [UInt8])
    /// RESP3 "!": an error that may hold any byte.
    case bulkError([UInt8])
    /// Pairs about a reply, and the reply.
    case attributed([Pair], Reply)

    public struct Pair: Equatable, Sendable {
        public let key: Reply
        public let value: Reply

        public init(_ key: Reply, _ value: Reply) {
            self.key = key
            self.value = value
        }
    }

    /// The bytes of a text-like reply as text, for people and tests; nil for the other kinds.
    public var text: String? {
        switch self {
        case .simple(let bytes), .error(let bytes), .bulk(let bytes), .bigNumber(let bytes),
             .verbatim(_, let bytes), .bulkError(let bytes):
            String(decoding: bytes, as: UTF8.self)
        case .integer(let value): String(value)
        case .attributed(_, let reply): reply.text
        default: nil
        }
    }

    public var isError: Bool {
        switch self {
        case .error, .bulkError: true
        default: false
        }
    }

    /// The members of an array, set or push; nil for the other kinds.
    public var members: [Reply]? {
        switch self {
        case .array(let members), .set(let members), .push(let members): members
        default: nil
        }
    }
}
