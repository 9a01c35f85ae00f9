import Primitives

/// What a key's value is.
public enum ValueType: UInt8, Sendable {
    case string = 1, list, hash, set, sortedSet, stream
}

/// One key in RAM: its header, its key and, while it is resident, its value.
///
/// Shape:  | flags 4 | access clock 3, spare 1 | value length 4 | address 8 | expiry 8, if any |
///         | key length 4, if over 254 | key … | value … |
///         flags: type 4 · raw 1 · external 1 · text 1 · structured 1 · frequency 2 · probation 1 ·
///         expiry 1 · saved 1 · resident 1 · saving 1 · writing 1 · epoch 8 · key length 8 (255: long)
///         An external value is | memory address 8 | capacity 8 | in place of the value, a structured one
///         | reference to a `Structure` 8 |; its value length is that of its record.
/// Units:  expiry in Unix milliseconds; access clock in seconds, wrapping (Redis 7.0 `lru`).
/// Why:    20 bytes a key is all a demoted value costs beyond its key and its index slot.
/// An entry belongs to its index slot and may move whenever its stripe is unlocked.
@usableFromInline
struct Entry {
    static let headerSize = 20
    /// Values longer than this live outside the entry, in an extent.
    static let externalThreshold = 8 << 10

    let at: UnsafeMutableRawPointer

    @inline(__always) init(_ at: UnsafeMutableRawPointer) { self.at = at }

    @inline(__always) var flags: UInt32 {
        get { at.load(as: UInt32.self) }
        nonmutating set { at.storeBytes(of: newValue, as: UInt32.self) }
    }

    @inline(__always) func has(_ flag: UInt32) -> Bool { flags & flag != 0 }

    @inline(__always) func set(_ flag: UInt32, _ on: Bool) {
        flags = on ? flags | flag : flags & ~flag
    }

    static let raw: UInt32 = 1 << 4
    static let external: UInt32 = 1 << 5
    static let text: UInt32 = 1 << 6
    /// A string: what OBJECT ENCODING remembers of how the value was written.
    static let encoding = raw | text
    /// A collection: it has outgrown what Redis calls its compact encoding.
    static let wide = raw
    /// A set whose bytes are an intset; without it they are a listpack.
    static let intset = text
    /// A large hash of whose fields some expire.
    static let expiring = text
    /// A large collection; its record is its RDB encoding.
    static let structured: UInt32 = 1 << 7
    /// What a record keeps of the flags, beside the type.
    static let recorded = encoding | structured
    static let frequencyShift: UInt32 = 8
    static let probation: UInt32 = 1 << 10
    static let hasExpiry: UInt32 = 1 << 11
    /// The running snapshot has it, or it is newer than the snapshot.
    static let saved: UInt32 = 1 << 12
    static let resident: UInt32 = 1 << 13
    /// Is being encoded by the running snapshot: it stays as and where it is.
    static let saving: UInt32 = 1 << 14
    static let writing: UInt32 = 1 << 15
    static let epochShift: UInt32 = 16
    static let keyShift: UInt32 = 24

    @inline(__always) var type: ValueType { ValueType(rawValue: UInt8(flags & 15))! }
    @inline(__always) var isResident: Bool { has(Entry.resident) }
    @inline(__always) var isExternal: Bool { has(Entry.external) }
    @inline(__always) var isStructured: Bool { has(Entry.structured) }

    /// The collection of a resident structured entry, which owns one reference to it.
    var structure: LentStructure {
        let word = at.loadUnaligned(fromByteOffset: valueOffset, as: UInt.self)
        return LentStructure(Unmanaged.fromOpaque(UnsafeRawPointer(bitPattern: word)!))
    }

    /// Gives the entry a reference to own.
    func own(_ structure: Structure) {
        let word = UInt(bitPattern: Unmanaged.passRetained(structure).toOpaque())
        at.storeBytes(of: word, toByteOffset: valueOffset, as: UInt.self)
    }

    /// Takes the reference back.
    func disown() -> Structure {
        let word = at.loadUnaligned(fromByteOffset: valueOffset, as: UInt.self)
        return Unmanaged<Structure>.fromOpaque(UnsafeRawPointer(bitPattern: word)!).takeRetainedValue()
    }

    /// Bytes of the value as its record has them.
    var encodedCount: Int { isResident && isStructured ? structure.held.encodedBytes : valueCount }

    /// RAM a resident value takes.
    var heldCount: Int { isStructured ? structure.held.heldBytes : valueCount }

    @inline(__always) var frequency: UInt32 {
        get { flags >> Entry.frequencyShift & 3 }
        nonmutating set { flags = flags & ~(3 << Entry.frequencyShift) | newValue << Entry.frequencyShift }
    }

    @inline(__always) var epoch: UInt8 {
        get { UInt8(truncatingIfNeeded: flags >> Entry.epochShift) }
        nonmutating set {
            flags = flags & ~(0xff << Entry.epochShift) | UInt32(newValue) << Entry.epochShift
        }
    }

    /// Seconds modulo 2^24 of the last access, or the LFU counter, as in Redis's object header.
    @inline(__always) var accessClock: UInt32 {
        get { at.load(fromByteOffset: 4, as: UInt32.self) & 0xff_ffff }
        nonmutating set { at.storeBytes(of: newValue, toByteOffset: 4, as: UInt32.self) }
    }

    @inline(__always) var valueCount: Int {
        get { Int(at.load(fromByteOffset: 8, as: UInt32.self)) }
        nonmutating set { at.storeBytes(of: UInt32(newValue), toByteOffset: 8, as: UInt32.self) }
    }

    @inline(__always) var address: Address {
        get { Address(raw: at.loadUnaligned(fromByteOffset: 12, as: UInt64.self)) }
        nonmutating set { at.storeBytes(of: newValue.raw, toByteOffset: 12, as: UInt64.self) }
    }

    @inline(__always) var expiry: Int64? {
        has(Entry.hasExpiry) ? at.loadUnaligned(fromByteOffset: 20, as: Int64.self) : nil
    }

    @inline(__always) var keyOffset: Int {
        let flags = self.flags
        return 20 + (flags & Entry.hasExpiry != 0 ? 8 : 0) + (flags >> Entry.keyShift == 255 ? 4 : 0)
    }

    @inline(__always) var keyCount: Int {
        let flags = self.flags
        let short = flags >> Entry.keyShift
        if short != 255 { return Int(short) }
        let offset = flags & Entry.hasExpiry != 0 ? 28 : 20
        return Int(at.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    @inline(__always) var key: ByteView { ByteView(at + keyOffset, keyCount) }

    @inline(__always) var valueOffset: Int { keyOffset + keyCount }

    /// The value's bytes in RAM. Only while resident.
    @inline(__always) var value: UnsafeMutableRawPointer {
        isExternal ? externalMemory : at + valueOffset
    }

    var externalMemory: UnsafeMutableRawPointer {
        get {
            let word = at.loadUnaligned(fromByteOffset: valueOffset, as: UInt.self)
            return UnsafeMutableRawPointer(bitPattern: word)!
        }
        nonmutating set {
            at.storeBytes(of: UInt(bitPattern: newValue), toByteOffset: valueOffset, as: UInt.self)
        }
    }

    var externalCapacity: Int {
        get { at.loadUnaligned(fromByteOffset: valueOffset + 8, as: Int.self) }
        nonmutating set { at.storeBytes(of: newValue, toByteOffset: valueOffset + 8, as: Int.self) }
    }

    /// Bytes the entry needs in its cell.
    var size: Int {
        valueOffset + (!isResident ? 0 : isExternal ? 16 : isStructured ? 8 : valueCount)
    }

    /// Bytes an entry takes up to its value.
    @inline(__always)
    static func prefix(keyCount: Int, expires: Bool) -> Int {
        headerSize + (expires ? 8 : 0) + (keyCount >= 255 ? 4 : 0) + keyCount
    }

    /// Writes a fresh header and key; everything else is zero.
    @inline(__always)
    func initialise(type: ValueType, key: ByteView, expiry: Int64?) {
        let short = UInt32(min(key.count, 255))
        flags = UInt32(type.rawValue) | short << Entry.keyShift | (expiry == nil ? 0 : Entry.hasExpiry)
        at.storeBytes(of: 0, toByteOffset: 4, as: UInt32.self)
        at.storeBytes(of: 0, toByteOffset: 8, as: UInt32.self)
        at.storeBytes(of: 0, toByteOffset: 12, as: UInt64.self)
        var offset = 20
        if let expiry {
            at.storeBytes(of: expiry, toByteOffset: offset, as: Int64.self)
            offset += 8
        }
        if short == 255 {
            at.storeBytes(of: UInt32(key.count), toByteOffset: offset, as: UInt32.self)
            offset += 4
        }
        (at + offset).copyMemory(from: key.base, byteCount: key.count)
    }
}
