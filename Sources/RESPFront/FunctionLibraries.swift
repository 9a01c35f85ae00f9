import Primitives
import RESPWire
import Synchronization
import TieredStore

/// A library of functions: its text, and what it registered when it was loaded. Never changed.
final class Library: Sendable {
    struct Function: Sendable {
        var name: String
        var description: [UInt8]?
        /// By bit, in the order of `flagNames`.
        var flags: UInt32
    }

    static let flagNames: [StaticString] = [
        "no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys",
    ]

    let id: Int
    let name: String
    let text: [UInt8]
    /// Bytes of the first line.
    let skip: Int
    let functions: [Function]
    /// Its text names a command that looks beyond its keys.
    let runsAlone: Bool

    init(id: Int, header: Header, text: [UInt8], functions: [Function], runsAlone: Bool) {
        self.id = id
        name = header.name
        self.text = text
        skip = header.skip
        self.functions = functions
        self.runsAlone = runsAlone
    }

    /// What a library's first line says, `#!lua name=…`.
    struct Header {
        var name = ""
        var skip = 0

        /// Errors: Redis 7.0's texts.
        init(_ text: ByteView) throws(CommandError) {
            guard text.count >= 2, text[0..<2] == ByteView("#!") else {
                throw .message("ERR Missing library metadata")
            }
            guard let end = (0..<text.count).first(where: { text[$0] == 10 || text[$0] == 0 }),
                text[end] == 10, let words = QuotedWords.split(text[0..<end]), !words.isEmpty
            else { throw .message("ERR Invalid library metadata") }
            var name: String?
            for word in words.dropFirst() {
                let part = String(decoding: word, as: UTF8.self)
                guard part.lowercased().hasPrefix("name=") else {
                    throw .message("ERR Invalid metadata value given: \(part)")
                }
                if name != nil {
                    throw .message("ERR Invalid metadata value, name argument was given multiple times")
                }
                name = String(part.dropFirst(5))
            }
            guard let name else { throw .message("ERR Library name was not given") }
            guard Library.isName(name) else {
                throw .message("""
                    ERR Library names can only contain letters, numbers, or underscores(_) and must be at \
                    least one character long
                    """)
            }
            let engine = String(decoding: words[0].dropFirst(2), as: UTF8.self)
            guard engine.lowercased() == "lua" else { throw .message("ERR Engine '\(engine)' not found") }
            self.name = name
            skip = end
        }
    }

    static func isName(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.allSatisfy {
            (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 95
        }
    }
}

/// The libraries all loops know. Any loop at any time: a lock guards it.
final class FunctionLibraries: Sendable {
    /// Libraries by name, and their functions by name, in lower case: Redis 7.0 finds them in any case.
    struct Known: Sendable {
        fileprivate(set) var libraries: [String: Library] = [:]
        fileprivate(set) var functions: [String: Script] = [:]

        /// Adds a library; `replacing`: in place of that of the same name.
        mutating func add(_ library: Library, replacing: Bool) throws(CommandError) {
            let old = libraries[library.name]
            if old != nil, !replacing { throw .message("ERR Library '\(library.name)' already exists") }
            for function in library.functions {
                guard let other = functions[function.name.lowercased()],
                    case .function(let owner) = other.code, owner.name != library.name
                else { continue }
                throw .message("ERR Function \(function.name) already exists")
            }
            if let old { remove(old) }
            libraries[library.name] = library
            for function in library.functions {
                var flags: ScriptFlags = .declared
                if function.flags & 1 != 0 { flags.insert(.noWrites) }
                if function.flags & 2 != 0 { flags.insert(.allowsNoMemory) }
                functions[function.name.lowercased()] = Script(
                    id: library.id, name: function.name, code: .function(of: library), flags: flags,
                    runsAlone: library.runsAlone)
            }
        }

        fileprivate mutating func remove(_ library: Library) {
            libraries[library.name] = nil
            for function in library.functions { functions[function.name.lowercased()] = nil }
        }

        /// By name, so that the answer is the same each time.
        var sorted: [Library] { libraries.values.sorted { $0.name < $1.name } }
    }

    private let state = Mutex(Known())
    private let epochWord = Atomic<Int>(0)

    /// Counted up by each change: loops forget the libraries that are gone.
    var epoch: Int { epochWord.load(ordering: .acquiring) }
    var known: Known { state.withLock { $0 } }

    func find(_ name: String) -> Script? { state.withLock { $0.functions[name] } }

    /// Changes what is known, all of it or nothing.
    func change(_ body: (inout Known) throws(CommandError) -> Void) throws(CommandError) {
        var failure: CommandError?
        state.withLock { state in
            var changed = state
            do throws(CommandError) {
                try body(&changed)
                state = changed
            } catch { failure = error }
        }
        if let failure { throw failure }
        epochWord.add(1, ordering: .acquiringAndReleasing)
    }

    func add(_ library: Library, replacing: Bool) throws(CommandError) {
        try change { known throws(CommandError) in try known.add(library, replacing: replacing) }
    }

    /// False when there is none of that name.
    func delete(_ name: String) -> Bool {
        let found = state.withLock { state in
            guard let library = state.libraries[name] else { return false }
            state.remove(library)
            return true
        }
        if found { epochWord.add(1, ordering: .acquiringAndReleasing) }
        return found
    }

    func flush() {
        state.withLock { $0 = Known() }
        epochWord.add(1, ordering: .acquiringAndReleasing)
    }

    /// Bytes of their texts and what keeping them takes.
    var bytes: Int {
        known.libraries.values.reduce(0) { $0 + $1.text.count + 200 + $1.functions.count * 200 }
    }
}
