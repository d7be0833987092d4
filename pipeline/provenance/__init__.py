"""What a bundle is made of and who answers for it: SBOM, licences, signatures."""
