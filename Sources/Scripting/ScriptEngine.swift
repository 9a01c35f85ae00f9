import CScripting
import Primitives

/// The words of a command a script runs, lent until the call returns.
public struct ScriptWords {
    private let words: UnsafePointer<cscripting_bytes>
    public let count: Int

    init(_ words: UnsafePointer<cscripting_bytes>, _ count: Int) {
        self.words = words
        self.count = count
    }

    public subscript(index: Int) -> ByteView {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "no such word")
        return ByteView(words[index])
    }
}

/// One loop's Lua 5.1 with Redis 7.0's sandbox.
///
/// Scripts and libraries of functions are compiled once and kept by a handle; one engine has either. A
/// script runs to its end inside `run`; the commands it asks for are run by `host.call`, which answers
/// with RESP bytes. Not for two threads at once.
/// Errors: Lua's own are caught in `CScripting`; nothing here or above sees a longjmp.
public final class ScriptEngine {
    public enum Outcome {
        /// The script's answer in RESP, lent until the engine is used again.
        case done(ByteView)
        /// An error's text, its code first; lent as above.
        case failed(ByteView)
        /// `call` ended the run; nothing the script did since is of any effect.
        case ended
    }

    /// What the engine asks its owner for.
    public struct Host {
        /// Runs a command; the reply, in the RESP version given, is used before the next call. Nil: the run
        /// is to end.
        public var call: (ScriptWords, Int) -> ByteView? = { _, _ in nil }
        /// Whether the caller may run a command; nil: there is none such.
        public var check: (ScriptWords) -> Bool? = { _ in nil }
        /// A line for the log: 0 debug, 1 verbose, 2 notice, 3 warning.
        public var log: (Int, ByteView) -> Void = { _, _ in }
        /// Asked now and then while a script runs; true ends it.
        public var interrupt: () -> Bool = { false }
        /// A library that is being loaded registers a function: name, description, flags by bit, in the
        /// order of Redis's documentation.
        public var register: (ByteView, ByteView?, UInt32) -> Registration = { _, _, _ in .done }
        public init() {}
    }

    public enum Registration { case done, badName, alreadyThere }

    /// Something compiled, as the engine that compiled it knows it.
    public struct Handle: Sendable {
        let number: Int32
    }

    public enum Compiled {
        case done(Handle)
        /// The error's text, without a code.
        case failed(String)
    }

    public var host = Host()
    private var engine: OpaquePointer?
    /// The words of the run that begins; only grown.
    private var words: UnsafeMutableBufferPointer<cscripting_bytes> = .allocate(capacity: 16)

    /// `limit`: most bytes Lua may take. `functions`: for libraries, not for scripts.
    public init?(limit: Int, functions: Bool = false) {
        let context = Unmanaged.passUnretained(self).toOpaque()
        let host = cscripting_host(
            context: context,
            call: { context, count, words, version, reply in
                let owner = ScriptEngine.owner(context)
                guard let bytes = owner.host.call(ScriptWords(words!, count), Int(version))
                else { return false }
                reply!.pointee = cscripting_bytes(bytes)
                return true
            },
            check: { context, count, words in
                guard let may = ScriptEngine.owner(context).host.check(ScriptWords(words!, count))
                else { return -1 }
                return may ? 1 : 0
            },
            log: { context, level, message in
                ScriptEngine.owner(context).host.log(Int(level), ByteView(message))
            },
            interrupt: { context in ScriptEngine.owner(context).host.interrupt() },
            sha1: { _, text, digits in
                for (i, digit) in Digests.sha1(ByteView(text)).utf8.enumerated() {
                    digits![i] = CChar(bitPattern: digit)
                }
            },
            register_function: { context, name, description, flags in
                let described = description.bytes == nil ? nil : ByteView(description)
                switch ScriptEngine.owner(context).host.register(ByteView(name), described, flags) {
                case .done: return CSCRIPTING_REGISTERED
                case .badName: return CSCRIPTING_BAD_NAME
                case .alreadyThere: return CSCRIPTING_ALREADY_THERE
                }
            })
        guard let engine = cscripting_create(host, limit, functions) else { return nil }
        self.engine = engine
    }

    deinit {
        if let engine { cscripting_destroy(engine) }
        words.deallocate()
    }

    private static func owner(_ context: UnsafeMutableRawPointer?) -> ScriptEngine {
        Unmanaged<ScriptEngine>.fromOpaque(context!).takeUnretainedValue()
    }

    /// Bytes Lua and the last answer take.
    public var memory: Int { Int(cscripting_memory(engine)) }
    public func setLimit(_ bytes: Int) { cscripting_set_limit(engine, bytes) }

    /// Collects all garbage.
    public func collect() { cscripting_collect(engine) }

    /// Compiles a script and keeps it.
    public func compile(_ body: ByteView) -> Compiled {
        var reply = cscripting_bytes()
        let handle = cscripting_compile(engine, cscripting_bytes(body), &reply)
        return handle == 0 ? .failed(ByteView(reply).text) : .done(Handle(number: handle))
    }

    /// Compiles a library and runs it, so that it registers its functions, which are kept.
    public func load(_ body: ByteView) -> Compiled {
        var reply = cscripting_bytes()
        let handle = cscripting_load(engine, cscripting_bytes(body), &reply)
        return handle == 0 ? .failed(ByteView(reply).text) : .done(Handle(number: handle))
    }

    public func forget(_ handle: Handle) { cscripting_forget(engine, handle.number) }

    /// Runs a compiled script. `name`: what errors call it, with a zero at its end. `version`: of the
    /// answer. `word`: the keys, then the arguments.
    public func run(
        _ script: Handle, name: [UInt8], keys: Int, arguments: Int, version: Int, word: (Int) -> ByteView
    ) -> Outcome {
        gather(keys + arguments, word)
        var reply = cscripting_bytes()
        let outcome = name.withUnsafeBytes {
            cscripting_run(
                engine, script.number, $0.baseAddress!.assumingMemoryBound(to: CChar.self), keys,
                words.baseAddress, arguments, words.baseAddress! + keys, Int32(version), &reply)
        }
        return ScriptEngine.outcome(outcome, reply)
    }

    /// Runs a function of a library; otherwise as `run`.
    public func call(
        _ library: Handle, name: [UInt8], keys: Int, arguments: Int, version: Int, word: (Int) -> ByteView
    ) -> Outcome {
        gather(keys + arguments, word)
        var reply = cscripting_bytes()
        let outcome = name.withUnsafeBytes {
            cscripting_call(
                engine, library.number, $0.baseAddress!.assumingMemoryBound(to: CChar.self), keys,
                words.baseAddress, arguments, words.baseAddress! + keys, Int32(version), &reply)
        }
        return ScriptEngine.outcome(outcome, reply)
    }

    private func gather(_ count: Int, _ word: (Int) -> ByteView) {
        if count > words.count {
            words.deallocate()
            words = .allocate(capacity: count * 2)
        }
        for i in 0..<count { (words.baseAddress! + i).initialize(to: cscripting_bytes(word(i))) }
    }

    private static func outcome(_ outcome: cscripting_outcome, _ reply: cscripting_bytes) -> Outcome {
        switch outcome {
        case CSCRIPTING_DONE: .done(ByteView(reply))
        case CSCRIPTING_ENDED: .ended
        default: .failed(ByteView(reply))
        }
    }
}

extension ByteView {
    init(_ bytes: cscripting_bytes) {
        guard let base = bytes.bytes else {
            self = .empty
            return
        }
        self.init(UnsafeRawPointer(base), bytes.count)
    }
}

extension cscripting_bytes {
    init(_ view: ByteView) {
        self.init(bytes: view.base.assumingMemoryBound(to: CChar.self), count: view.count)
    }
}
