//! A simulated vehicle: Ankaios over real FIFOs, with its habits.
