/// Codes in an RDB file that stand where a key's type byte could stand.
/// Source: Redis 7.0 rdb.h; 244 of Redis 7.4.
enum RDBOpcode {
    /// A slot's number and sizes, of a server in cluster mode.
    static let slotInfo: UInt8 = 244
    /// The text of a library of functions.
    static let function2: UInt8 = 245
    /// A library as the release candidates of Redis 7.0 wrote it.
    static let functionEarly: UInt8 = 246
    static let moduleAuxiliary: UInt8 = 247
    static let idle: UInt8 = 248
    static let frequency: UInt8 = 249
    static let auxiliary: UInt8 = 250
    static let sizes: UInt8 = 251
    static let expiryMilliseconds: UInt8 = 252
    static let expirySeconds: UInt8 = 253
    static let database: UInt8 = 254
    static let end: UInt8 = 255
}
