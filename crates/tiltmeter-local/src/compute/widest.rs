//! Loops that are compiled for the widest SIMD at hand.

/// Makes functions whose bodies are compiled once for each kind of SIMD; the machine's widest is chosen on call.
///
/// Closures will not do: a closure that borrows is called through a shim that the compiler need not inline, and one
/// that it leaves a function of its own is compiled for the baseline, where each multiply-add is a call.
macro_rules! widest_simd {
    ($($(#[$attribute:meta])* $vis:vis fn $name:ident<$life:lifetime>($($argument:ident: $type:ty),* $(,)?) -> $output:ty $body:block)*) => {$(
        $(#[$attribute])*
        $vis fn $name<$life>($($argument: $type),*) -> $output {
            struct Loop<$life> {
                $($argument: $type,)*
                life: std::marker::PhantomData<&$life ()>,
            }
            impl<$life> WithSimd for Loop<$life> {
                type Output = $output;

                #[inline(always)]
                fn with_simd<S: Simd>(self, _: S) -> $output {
                    let Self { $($argument,)* life: _ } = self;
                    $body
                }
            }
            Arch::new().dispatch(Loop { $($argument,)* life: std::marker::PhantomData })
        }
    )*};
}

pub(super) use widest_simd;
